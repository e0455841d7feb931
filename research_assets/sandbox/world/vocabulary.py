"""The vocabulary of the world: regions, languages, topics, tags and phrases. All names are invented.

Weights are relative. Not here: the generation of texts (see text.py).
"""

from typing import NamedTuple

REGIONS: dict[str, tuple[float, str]] = {
    "DE": (27, "de"),
    "AT": (9, "de"),
    "CH": (3, "de"),
    "US": (15, "en"),
    "GB": (8, "en"),
    "IE": (2, "en"),
    "EG": (6, "ar"),
    "SA": (5, "ar"),
    "MA": (3, "ar"),
    "ES": (6, "es"),
    "MX": (7, "es"),
    "CO": (3, "es"),
    "FR": (6, "fr"),
}
"""Regions of registration of the world's creators: weight and language."""


class Topic(NamedTuple):
    """The main topic of a creator: its weight, its tags from the most to the least used, its emoji."""

    weight: float
    tags: tuple[str, ...]
    emoji: str


TOPICS: dict[str, Topic] = {
    "gardening": Topic(
        33,
        (
            "gardening",
            "garten",
            "balkon",
            "tomaten",
            "plants",
            "hochbeet",
            "gemüse",
            "kompost",
            "winteraussaat",
            "selbstversorger",
            "hortensien",
            "gardentok",
            "moos",
            "schnecken",
            "sourdirt",
            "🌱",
        ),
        "🌱🍅🌻🥕🪴🐌",
    ),
    "cooking": Topic(14, ("cooking", "rezept", "foodtok", "brot", "vegan", "receta", "pasta", "وصفات"), "🍝🥖🍲🔥"),
    "books": Topic(9, ("booktok", "books", "lesen", "fantasy", "libros", "bookrec", "كتب"), "📚✨🌙"),
    "football": Topic(12, ("football", "fussball", "futbol", "training", "goal", "كرة_القدم"), "⚽🔥🏆"),
    "music": Topic(9, ("music", "cover", "guitar", "newmusic", "musica", "choir"), "🎸🎶🎤"),
    "travel": Topic(8, ("travel", "reisen", "hiking", "viaje", "mountains", "سفر"), "🏔️✈️🌍"),
    "pets": Topic(8, ("pets", "dogsoftiktok", "catsoftiktok", "hund", "katze", "gatos"), "🐶🐱❤️"),
    "science": Topic(4, ("science", "stem", "physik", "chemistry", "ciencia"), "🔬🧪🛰️"),
    "news": Topic(3, ("news", "politik", "election", "noticias", "أخبار"), "📰🗳️"),
}
"""Topics by name; the first tag is the topic's own."""

GENERAL_TAGS = ("fyp", "foryou", "viral", "fürdich", "foryoupage", "trending", "parati", "FYP", "fy", "xyzbca")

OPENERS: dict[str, tuple[str, ...]] = {
    "de": (
        "Heute zeige ich euch",
        "Endlich",
        "Tag {n}:",
        "Wer kennt das?",
        "Mein Tipp:",
        "Ganz ehrlich,",
        "Update zu",
        "So geht",
        "Ich liebe",
        "Nie wieder ohne",
    ),
    "en": (
        "Today we try",
        "Finally",
        "Day {n} of",
        "POV:",
        "My best tip for",
        "Honestly,",
        "Update on",
        "How to do",
        "I love",
        "Wait for it,",
    ),
    "ar": ("اليوم", "أخيرا", "اليوم {n} من", "نصيحتي", "بصراحة", "كيف", "أحب", "شاهدوا"),
    "es": ("Hoy probamos", "Por fin", "Día {n} de", "Mi consejo:", "La verdad,", "Así se hace", "Me encanta", "Miren"),
    "fr": ("Aujourd'hui", "Enfin", "Jour {n} de", "Mon conseil :", "Franchement,", "Voici", "J'adore", "Regardez"),
}

SUBJECTS: dict[str, dict[str, tuple[str, ...]]] = {
    "de": {
        "gardening": (
            "Tomaten ausgeizen",
            "das neue Hochbeet",
            "Kompost im Winter",
            "die Aussaat auf der Fensterbank",
            "Schnecken ohne Gift",
            "mein Balkon im Februar",
            "Chili vorziehen",
            "Hortensien schneiden",
        ),
        "cooking": ("Brot ohne Kneten", "Linsensuppe wie früher", "Abendessen in zehn Minuten"),
        "": ("mein Alltag", "etwas Neues", "die Woche", "ein kleiner Ausflug", "das Ergebnis"),
    },
    "en": {
        "gardening": (
            "pruning tomatoes",
            "the raised bed",
            "winter sowing",
            "compost that does not smell",
            "slugs versus lettuce",
            "a balcony jungle",
            "seed trays on the window sill",
        ),
        "cooking": ("no-knead bread", "one-pot pasta", "dinner in ten minutes"),
        "": ("my day", "something new", "this week", "a small trip", "the result"),
    },
    "ar": {
        "gardening": ("زراعة الطماطم على الشرفة", "حديقة صغيرة", "السماد في الشتاء"),
        "cooking": ("خبز بدون عجن", "شوربة العدس"),
        "": ("يومي", "شيء جديد", "هذا الأسبوع", "النتيجة"),
    },
    "es": {
        "gardening": ("tomates en el balcón", "mi huerto", "compost en invierno"),
        "cooking": ("pan sin amasar", "sopa de lentejas"),
        "": ("mi día", "algo nuevo", "esta semana", "el resultado"),
    },
    "fr": {
        "gardening": ("les tomates du balcon", "mon potager", "le compost en hiver"),
        "cooking": ("le pain sans pétrir", "une soupe de lentilles"),
        "": ("ma journée", "du nouveau", "cette semaine", "le résultat"),
    },
}
"""Subjects of captions, by language and topic; "" is for all other topics."""

COMMENT_TEXTS: dict[str, tuple[str, ...]] = {
    "de": (
        "Welche Sorte ist das? 😍",
        "Bei mir klappt das nie",
        "Danke für den Tipp!",
        "wo gibt es das zu kaufen",
        "😂😂😂",
        "Sehr schön gemacht",
        "Das stimmt so nicht ganz",
        "Erste!",
        "Mehr davon bitte 🙏",
        "Kann ich bestätigen",
    ),
    "en": (
        "what kind is this? 😍",
        "never works for me",
        "thanks for the tip!",
        "where did you get it",
        "😂😂😂",
        "so well done",
        "that is not quite true",
        "first!",
        "more of this please 🙏",
        "can confirm",
    ),
    "ar": ("ما هذا النوع؟ 😍", "شكرا على النصيحة", "رائع جدا", "😂😂😂", "من أين اشتريته", "ما شاء الله"),
    "es": (
        "¿qué variedad es? 😍",
        "a mí nunca me sale",
        "¡gracias por el consejo!",
        "😂😂😂",
        "qué bonito",
        "más por favor 🙏",
    ),
    "fr": (
        "c'est quelle variété ? 😍",
        "ça ne marche jamais chez moi",
        "merci pour le conseil !",
        "😂😂😂",
        "magnifique",
    ),
}

MASKED_TEXTS = (
    "call me +4*********31",
    "schreib mir m***@*** 📬",
    "WhatsApp 01********47",
    "IBAN ****************0312",
)
"""Comments with personal data as the API masks it (reference §3.2)."""

HANDLE_FIRST_PARTS = (
    "beet",
    "moos",
    "kraut",
    "luna",
    "river",
    "nova",
    "tiny",
    "wild",
    "sonnen",
    "regen",
    "salty",
    "velvet",
    "cosmo",
    "pixel",
    "maple",
    "olive",
    "north",
    "sleepy",
    "zimt",
    "kupfer",
    "cactus",
    "mango",
    "polar",
    "hazel",
    "echo",
)
HANDLE_SECOND_PARTS = (
    "freund",
    "balkon",
    "garten",
    "kitchen",
    "diary",
    "tales",
    "studio",
    "world",
    "corner",
    "hof",
    "lab",
    "notes",
    "vibes",
    "house",
    "reads",
    "kick",
    "trail",
    "paws",
    "beats",
    "atelier",
    "nest",
    "club",
    "post",
    "bloom",
)
DISPLAY_NAMES = (
    "Beet & Balkon",
    "Moos",
    "Luna",
    "River",
    "Herr Zimt",
    "كوزمو",
    "Nova ✨",
    "Tía Olive",
    "Kupferhof",
    "Wild Notes",
    "Sleepy Paws",
    "Maple",
    "حديقة",
    "Echo",
    "Das Nest",
    "Polar Club",
)

BIOS: dict[str, tuple[str, ...]] = {
    "de": ("Gärtnern auf 6 m²\nImpressum im Link", "Fragen gern in die Kommentare", "", "Neues jeden Freitag 🌱"),
    "en": ("just sharing what I learn", "inquiries via link", "", "new videos on Fridays ✨"),
    "ar": ("أشارك ما أتعلمه", "", "فيديو جديد كل جمعة"),
    "es": ("comparto lo que aprendo", "", "videos los viernes ✨"),
    "fr": ("je partage ce que j'apprends", "", "nouvelle vidéo le vendredi"),
}

STICKERS = ("Teil 1", "Part 2", "wait for it", "Vorher / Nachher", "🌱 Tipp", "الجزء ٢")
EFFECTS = ("Green Screen", "Soft Glow", "Time Warp", "Bling", "Beauty")
PLAYLISTS = ("Hochbeet Woche für Woche", "Tipps", "Season 2", "Best of", "Für Anfänger", "الحلقات")
