"""An engine in a process of its own: the backend contract across a pipe, so that its crash is not the server's."""
