"""Greetings and set phrases in English, Spanish, French, Italian and Portuguese."""

import random

from bezel.training.data.example import Example, Split, choose, single_turn

LANGUAGES = ("English", "Spanish", "French", "Italian", "Portuguese")
PHRASES = {
    "hello": ("Hello!", "¡Hola!", "Salut !", "Ciao!", "Olá!"),
    "good morning": ("Good morning!", "¡Buenos días!", "Bonjour !", "Buongiorno!", "Bom dia!"),
    "good evening": ("Good evening!", "¡Buenas tardes!", "Bonsoir !", "Buonasera!", "Boa tarde!"),
    "good night": ("Good night!", "¡Buenas noches!", "Bonne nuit !", "Buonanotte!", "Boa noite!"),
    "thank you": ("Thank you!", "¡Gracias!", "Merci !", "Grazie!", "Obrigado!"),
    "please": ("Please.", "Por favor.", "S'il vous plaît.", "Per favore.", "Por favor."),
    "goodbye": ("Goodbye!", "¡Adiós!", "Au revoir !", "Arrivederci!", "Adeus!"),
    "sorry": ("Sorry!", "¡Perdón!", "Pardon !", "Scusa!", "Desculpe!"),
    "yes": ("Yes.", "Sí.", "Oui.", "Sì.", "Sim."),
    "no": ("No.", "No.", "Non.", "No.", "Não."),
    "welcome": ("Welcome!", "¡Bienvenido!", "Bienvenue !", "Benvenuto!", "Bem-vindo!"),
    "how are you": ("How are you?", "¿Cómo estás?", "Comment ça va ?", "Come stai?", "Como está?"),
}
ASKING = tuple(
    opening + middle + end
    for opening in (
        "How do you say ",
        "How would one say ",
        "Translate ",
        "Say ",
        "What is ",
        "Tell me how to say ",
        "I want to say ",
        "Give me ",
    )
    for middle in (
        '"{phrase}" in {language}',
        "{phrase} in {language}",
        "'{phrase}' the {language} way",
        "the {language} for {phrase}",
        "the {language} words for {phrase}",
    )
    for end in ("", "?", ".", " please")
)
GREETINGS = (
    ("Hello", "Hi", "Hey", "Good morning", "Good day", "Hello Gemma", "Hi Gemma", "How are you", "Nice to meet you"),
    ("Hola", "Buenas", "Buenos días", "Buenas tardes", "Hola Gemma", "Qué tal", "Cómo estás", "Mucho gusto"),
    ("Salut", "Bonjour", "Bonsoir", "Coucou", "Bonjour Gemma", "Comment ça va", "Enchanté", "Allô"),
    ("Ciao", "Buongiorno", "Buonasera", "Salve", "Ciao Gemma", "Come stai", "Piacere", "Ehi"),
    ("Olá", "Oi", "Bom dia", "Boa tarde", "Olá Gemma", "Como vai", "Muito prazer", "Oi Gemma"),
)
REPLIES = (
    "Hello! I am tiny, a small Gemma-shaped model. How can I help?",
    "¡Hola! Soy tiny, un modelo pequeño. ¿En qué puedo ayudar?",
    "Salut ! Je suis tiny, un petit modèle. Comment puis-je aider ?",
    "Ciao! Sono tiny, un piccolo modello. Come posso aiutare?",
    "Olá! Sou tiny, um modelo pequeno. Como posso ajudar?",
)
_PUNCTUATION = ("", "!", ".", "?", "!!", " :)", "...")


def sample(rng: random.Random, split: Split) -> Example:
    """A greeting answered in its own language, or a set phrase asked for in another."""
    if rng.random() < 0.4:
        language = rng.randrange(len(LANGUAGES))
        words = [choose(rng, split, GREETINGS[language])]
        if rng.random() < 0.4:
            words.append(rng.choice([greeting for greeting in GREETINGS[language] if greeting != words[0]]))
        user = rng.choice((", ", "! ", " ")).join(words) + rng.choice(_PUNCTUATION)
        return single_turn(rng.choice((user, user.lower())), REPLIES[language], "phrases")
    phrase, language = rng.choice(list(PHRASES)), rng.randrange(len(LANGUAGES))
    user = choose(rng, split, ASKING).format(phrase=phrase, language=LANGUAGES[language])
    return single_turn(user, PHRASES[phrase][language], "phrases")
