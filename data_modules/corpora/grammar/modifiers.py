"""Adjectives, adverbs, prepositions, conjunctions and pronouns: modifiers and function words."""

from data_modules.corpora.grammar.words import Adjective, Adverb

ADJECTIVE_TABLE = """
old         ; alt         ; older   ; älter       ; 3 ; - ; person animal text clothing thing opening vehicle building outdoors
young       ; jung        ; younger ; jünger      ; 3 ; - ; person animal
small       ; klein       ; smaller ; kleiner     ; 2 ; - ; animal thing clothing food vehicle building outdoors
big         ; groß        ; bigger  ; größer      ; 2 ; - ; animal thing vehicle building outdoors food
new         ; neu         ; newer   ; neuer       ; 3 ; - ; text clothing thing opening vehicle building
friendly    ; freundlich  ; more    ; freundlicher; 1 ; - ; person
tired       ; müde        ; -       ; -           ; 3 ; + ; person animal
happy       ; glücklich   ; happier ; glücklicher ; 1 ; + ; person
beautiful   ; schön       ; more    ; schöner     ; 1 ; - ; outdoors building clothing thing animal
red         ; rot         ; -       ; -           ; 4 ; - ; clothing thing opening vehicle
blue        ; blau        ; -       ; -           ; 4 ; - ; clothing thing opening vehicle
green       ; grün        ; -       ; -           ; 4 ; - ; clothing thing opening vehicle
black       ; schwarz     ; -       ; -           ; 4 ; - ; clothing thing vehicle animal
white       ; weiß        ; -       ; -           ; 4 ; - ; clothing thing opening animal
expensive   ; teuer/teur  ; more    ; teurer      ; 1 ; - ; clothing thing vehicle food drink
cheap       ; billig      ; cheaper ; billiger    ; 1 ; - ; clothing thing vehicle
interesting ; interessant ; more    ; interessanter ; 1 ; - ; text
boring      ; langweilig  ; more    ; langweiliger ; 1 ; - ; text
short       ; kurz        ; shorter ; kürzer      ; 2 ; - ; text
long        ; lang        ; longer  ; länger      ; 2 ; - ; text clothing
fresh       ; frisch      ; fresher ; frischer    ; 3 ; - ; food drink
cold        ; kalt        ; colder  ; kälter      ; 3 ; + ; drink
hot         ; heiß        ; hotter  ; heißer      ; 3 ; + ; drink
sad         ; traurig     ; sadder  ; trauriger   ; 1 ; + ; person
sick        ; krank       ; -       ; -           ; 3 ; + ; person animal
rich        ; reich       ; richer  ; reicher     ; 3 ; - ; person
clever      ; klug        ; cleverer ; klüger     ; 1 ; - ; person
hungry      ; hungrig     ; hungrier ; hungriger  ; 3 ; + ; person animal
famous      ; berühmt     ; more    ; berühmter   ; 1 ; - ; person text building
brave       ; mutig       ; braver  ; mutiger     ; 1 ; - ; person
polite      ; höflich     ; more    ; höflicher   ; 1 ; - ; person
heavy       ; schwer      ; heavier ; schwerer    ; 2 ; - ; thing opening
broken      ; kaputt      ; -       ; -           ; 3 ; - ; thing opening vehicle
fast        ; schnell     ; faster  ; schneller   ; 1 ; - ; vehicle
sweet       ; süß         ; sweeter ; süßer       ; 1 ; - ; food
brown       ; braun       ; -       ; -           ; 4 ; - ; clothing thing animal
wild        ; wild        ; -       ; -           ; 1 ; - ; animal
dark        ; dunkel/dunkl ; darker ; dunkler     ; 3 ; - ; building outdoors clothing
quiet       ; ruhig       ; quieter ; ruhiger     ; 1 ; - ; building outdoors
warm        ; warm        ; warmer  ; wärmer      ; 1 ; - ; clothing
"""  # noqa: E501

UNSUITABLE = {
    ("old", "baby"), ("old", "child"), ("old", "girl"), ("old", "boy"), ("old", "son"), ("old", "daughter"),
    ("young", "grandmother"), ("young", "grandfather"), ("young", "child"), ("young", "boy"), ("young", "girl"),
    ("rich", "child"), ("rich", "boy"), ("rich", "girl"), ("rich", "student"),
    ("big", "mouse"), ("big", "bear"), ("small", "bear"), ("small", "cow"), ("small", "horse"), ("big", "key"),
    ("heavy", "key"), ("heavy", "flower"), ("heavy", "ball"), ("heavy", "umbrella"), ("heavy", "knife"),
    ("broken", "flower"), ("broken", "gift"), ("broken", "picture"), ("old", "flower"), ("new", "flower"),
    ("black", "flower"), ("green", "flower"), ("brown", "flower"), ("cheap", "flower"), ("brown", "duck"),
    ("wild", "cow"), ("wild", "mouse"), ("white", "bear"), ("black", "mouse"), ("beautiful", "mouse"),
    ("beautiful", "ball"), ("beautiful", "suitcase"), ("beautiful", "knife"), ("beautiful", "key"),
    ("warm", "shirt"), ("warm", "skirt"), ("warm", "shoe"), ("long", "hat"), ("long", "shoe"), ("long", "postcard"),
    ("long", "jacket"), ("long", "shirt"), ("dark", "hat"), ("dark", "beach"), ("dark", "island"), ("dark", "market"),
    ("dark", "mountain"), ("dark", "tree"), ("quiet", "tree"), ("quiet", "mountain"), ("quiet", "station"),
    ("quiet", "bridge"), ("quiet", "tower"), ("dark", "bridge"), ("famous", "kitchen"), ("famous", "office"),
    ("famous", "room"), ("famous", "house"), ("famous", "letter"), ("famous", "newspaper"), ("famous", "postcard"),
    ("fresh", "soup"), ("fresh", "wine"), ("fresh", "tea"), ("hot", "juice"), ("hot", "wine"), ("cold", "coffee"),
    ("sweet", "sausage"), ("sweet", "potato"), ("sweet", "meat"), ("sweet", "cheese"), ("sweet", "egg"),
    ("sweet", "soup"), ("big", "soup"), ("small", "soup"), ("expensive", "water"), ("expensive", "egg"),
    ("expensive", "potato"), ("sweet", "bread"), ("fast", "bicycle"), ("big", "bicycle"), ("new", "castle"),
    ("old", "forest"), ("old", "river"), ("old", "lake"), ("old", "beach"), ("old", "island"), ("old", "mountain"),
    ("red", "clock"), ("green", "clock"), ("blue", "knife"), ("red", "knife"), ("green", "knife"), ("white", "knife"),
    ("new", "church"), ("small", "meat"), ("big", "meat"), ("small", "bread"), ("big", "bread"), ("small", "cheese"),
    ("big", "cheese"), ("blue", "bear"), ("cheap", "gift"), ("heavy", "clock"), ("heavy", "lamp"), ("heavy", "bottle"),
    ("old", "bottle"), ("old", "ball"), ("hungry", "cow"), ("old", "princess"), ("old", "grandmother"),
    ("old", "grandfather"), ("heavy", "window"), ("long", "coat"), ("warm", "dress"),
}  # fmt: skip
"""Implausible pairs of English adjective and noun that their kinds would allow."""


def read_adjective(line: str) -> Adjective:
    """Read one line of the table: English, German (/stem), both comparatives, group, passing, kinds."""
    english, german, english_comparative, german_comparative, group, passing, kinds = map(str.strip, line.split(";"))
    base, _, stem = german.partition("/")
    return Adjective(
        english=english,
        german=base,
        stem=stem or (base[:-1] if base.endswith("e") else base),
        english_comparative={"-": "", "more": f"more {english}"}.get(english_comparative, english_comparative),
        german_comparative="" if german_comparative == "-" else german_comparative,
        group=int(group),
        passing=passing == "+",
        kinds=frozenset(kinds.split()),
    )


ADJECTIVES: list[Adjective] = [read_adjective(line) for line in ADJECTIVE_TABLE.strip().splitlines()]

FREQUENCIES = [Adverb("often", "oft"), Adverb("always", "immer"), Adverb("sometimes", "manchmal"),
               Adverb("never", "nie"), Adverb("rarely", "selten")]  # fmt: skip
MANNERS = {"q": Adverb("quickly", "schnell"), "s": Adverb("slowly", "langsam"), "u": Adverb("quietly", "leise"),
           "c": Adverb("carefully", "vorsichtig"), "l": Adverb("loudly", "laut"), "p": Adverb("patiently", "geduldig"),
           "i": Adverb("diligently", "fleißig")}  # fmt: skip
TIMES = [Adverb("today", "heute"), Adverb("yesterday", "gestern", "a"), Adverb("tomorrow", "morgen", "f"),
         Adverb("now", "jetzt", "p"), Adverb("soon", "bald", "f"), Adverb("recently", "neulich", "a"),
         Adverb("already", "bereits", "a"), Adverb("suddenly", "plötzlich", "a")]  # fmt: skip
PLACES = [Adverb("here", "hier"), Adverb("at home", "zu Hause"), Adverb("outside", "draußen"), Adverb("there", "dort")]
HOME = Adverb("home", "nach Hause")
ONLY_BEFORE_VERB = frozenset({"already", "suddenly"})
"""Time adverbs that English puts before the verb, like "often"; German treats them as other times."""

TIME_PHRASES = [("in the", "evening", "an"), ("in the", "morning", "an"), ("in the", "afternoon", "an"),
                ("at", "noon", "an"), ("at", "night", "in"), ("in", "summer", "in"), ("in", "winter", "in"),
                ("in", "spring", "in"), ("in", "autumn", "in"), ("on", "Monday", "an"), ("on", "Wednesday", "an"),
                ("on", "Friday", "an"), ("on", "Saturday", "an"), ("on", "Sunday", "an")]  # fmt: skip
"""English preposition (and article), noun, German preposition; German has the dative and always the article."""
REPEATED = ["day", "evening", "morning", "week", "year", "night"]
"""Nouns of "every day", in German the accusative: "jeden Tag"."""
CIRCUMSTANCES = {("because of", "wegen"): ["rain", "storm", "snow", "heat"],
                 ("despite", "trotz"): ["rain", "storm", "heat"],
                 ("during", "während"): ["concert", "journey", "lesson", "wedding", "storm", "night"]}  # fmt: skip
"""Prepositions with the genitive, and their nouns."""

LOCATIONS = {
    ("in", "in"): "garden kitchen house school forest city village park church room hotel office museum library "
    "restaurant castle tower",
    ("at", "an"): "station river lake beach",
    ("on", "auf"): "bridge street island mountain market",
    ("in front of", "vor"): "house school church station hotel museum castle restaurant library",
    ("behind", "hinter"): "house school church station hotel museum castle restaurant library tree",
    ("beside", "neben"): "house school church station hotel river tree bridge tower",
    ("under", "unter"): "tree bridge",
}
"""Locations: dative."""
ARRIVALS = {("at", "an"): "station", ("in", "in"): "village city hotel", ("on", "auf"): "island"}
WATERS = {("in", "in"): "lake river"}
DIRECTIONS = {
    ("to", "zu", "dat"): "station school church market river lake bridge beach castle",
    ("into", "in", "acc"): "house garden kitchen forest city room park museum library hotel office restaurant",
    ("out of", "aus", "dat"): "house kitchen room church hotel office school museum library",
    ("from", "von", "dat"): "station market river lake beach bridge",
    ("through", "durch", "acc"): "forest city park village garden",
    ("over", "über", "acc"): "bridge street mountain",
    ("around", "um", "acc"): "house lake castle tree church",
}
"""Directions, with the German case."""
INDOORS = frozenset({"kitchen", "house", "hotel", "restaurant"})

CONJUNCTIONS = {"because": "weil", "although": "obwohl", "if": "falls", "when": "wenn", "while": "während",
                "before": "bevor", "until": "bis", "as soon as": "sobald", "that": "dass",
                "whether": "ob"}  # fmt: skip
"""Subordinating conjunctions: the German verb goes last. "when" is "als" in the past."""
COORDINATORS = {"and": "und", "but": "aber"}
QUESTION_WORDS = {"where": "wo", "when": "wann", "why": "warum", "how often": "wie oft"}

PRONOUNS = {
    "I": ("me", "ich mich mir"),
    "we": ("us", "wir uns uns"),
    "he": ("him", "er ihn ihm"),
    "she": ("her", "sie sie ihr"),
    "they": ("them", "sie sie ihnen"),
    "it": ("it", "es es ihm"),
}
"""English object form; German nominative, accusative, dative."""
