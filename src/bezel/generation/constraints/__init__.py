"""What an answer must look like, enforced while it is generated."""
