"""The nouns: English (with an irregular plural), gender, German singular and plural, genitive unless feminine.

A plural "-" marks a mass noun.
"""

from data_modules.corpora.grammar.words import Noun, english_plural

TABLES: dict[str, str] = {
    "person": """
        man/men m Mann Männer Mannes
        woman/women f Frau Frauen
        child/children n Kind Kinder Kindes
        teacher m Lehrer Lehrer Lehrers
        girl n Mädchen Mädchen Mädchens
        boy m Junge Jungen Jungen
        doctor m Arzt Ärzte Arztes
        mother f Mutter Mütter
        father m Vater Väter Vaters
        sister f Schwester Schwestern
        brother m Bruder Brüder Bruders
        friend m Freund Freunde Freundes
        student m Student Studenten Studenten
        daughter f Tochter Töchter
        son m Sohn Söhne Sohnes
        neighbour m Nachbar Nachbarn Nachbarn
        aunt f Tante Tanten
        uncle m Onkel Onkel Onkels
        farmer m Bauer Bauern Bauern
        actress f Schauspielerin Schauspielerinnen
        gardener m Gärtner Gärtner Gärtners
        nurse f Krankenschwester Krankenschwestern
        guest m Gast Gäste Gastes
        painter m Maler Maler Malers
        grandmother f Großmutter Großmütter
        grandfather m Großvater Großväter Großvaters
        waitress f Kellnerin Kellnerinnen
        baker m Bäcker Bäcker Bäckers
        princess f Prinzessin Prinzessinnen
        king m König Könige Königs""",
    "animal": """
        dog m Hund Hunde Hundes
        cat f Katze Katzen
        horse n Pferd Pferde Pferdes
        bird m Vogel Vögel Vogels
        cow f Kuh Kühe
        rabbit n Kaninchen Kaninchen Kaninchens
        mouse/mice f Maus Mäuse
        bear m Bär Bären Bären
        duck f Ente Enten""",
    "text": """
        book n Buch Bücher Buches
        letter m Brief Briefe Briefes
        newspaper f Zeitung Zeitungen
        story f Geschichte Geschichten
        poem n Gedicht Gedichte Gedichtes
        novel m Roman Romane Romans
        postcard f Postkarte Postkarten""",
    "food": """
        apple m Apfel Äpfel Apfels
        cake m Kuchen Kuchen Kuchens
        soup f Suppe Suppen
        egg n Ei Eier Eies
        potato f Kartoffel Kartoffeln
        pear f Birne Birnen
        tomato f Tomate Tomaten
        sausage f Wurst Würste
        bread n Brot - Brotes
        cheese m Käse - Käses
        meat n Fleisch - Fleisches""",
    "drink": """
        water n Wasser - Wassers
        milk f Milch -
        tea m Tee - Tees
        coffee m Kaffee - Kaffees
        juice m Saft - Saftes
        wine m Wein - Weins""",
    "clothing": """
        coat m Mantel Mäntel Mantels
        dress n Kleid Kleider Kleides
        jacket f Jacke Jacken
        shirt n Hemd Hemden Hemdes
        hat m Hut Hüte Hutes
        skirt m Rock Röcke Rockes
        shoe m Schuh Schuhe Schuhes""",
    "thing": """
        bag f Tasche Taschen
        key m Schlüssel Schlüssel Schlüssels
        picture n Bild Bilder Bildes
        suitcase m Koffer Koffer Koffers
        lamp f Lampe Lampen
        chair m Stuhl Stühle Stuhles
        box f Kiste Kisten
        clock f Uhr Uhren
        gift n Geschenk Geschenke Geschenkes
        basket m Korb Körbe Korbes
        knife/knives n Messer Messer Messers
        umbrella m Regenschirm Regenschirme Regenschirms
        bottle f Flasche Flaschen
        ball m Ball Bälle Balles
        flower f Blume Blumen""",
    "opening": """
        door f Tür Türen
        window n Fenster Fenster Fensters""",
    "vehicle": """
        car n Auto Autos Autos
        bicycle n Fahrrad Fahrräder Fahrrades
        boat n Boot Boote Bootes
        ship n Schiff Schiffe Schiffes
        bus m Bus Busse Busses
        train m Zug Züge Zuges""",
    "building": """
        house n Haus Häuser Hauses
        school f Schule Schulen
        kitchen f Küche Küchen
        room n Zimmer Zimmer Zimmers
        church f Kirche Kirchen
        station m Bahnhof Bahnhöfe Bahnhofs
        hotel n Hotel Hotels Hotels
        library f Bibliothek Bibliotheken
        castle n Schloss Schlösser Schlosses
        museum n Museum Museen Museums
        office n Büro Büros Büros
        tower m Turm Türme Turmes
        bridge f Brücke Brücken
        restaurant n Restaurant Restaurants Restaurants""",
    "outdoors": """
        garden m Garten Gärten Gartens
        forest m Wald Wälder Waldes
        city f Stadt Städte
        village n Dorf Dörfer Dorfes
        park m Park Parks Parks
        street f Straße Straßen
        river m Fluss Flüsse Flusses
        lake m See Seen Sees
        beach m Strand Strände Strandes
        island f Insel Inseln
        market m Markt Märkte Marktes
        mountain m Berg Berge Berges
        tree m Baum Bäume Baumes""",
    "event": """
        rain m Regen - Regens
        storm m Sturm Stürme Sturmes
        snow m Schnee - Schnees
        heat f Hitze -
        concert n Konzert Konzerte Konzertes
        journey f Reise Reisen
        wedding f Hochzeit Hochzeiten
        lesson f Stunde Stunden""",
    "time": """
        evening m Abend Abende Abends
        morning m Morgen Morgen Morgens
        afternoon m Nachmittag Nachmittage Nachmittags
        noon m Mittag - Mittags
        night f Nacht Nächte
        summer m Sommer Sommer Sommers
        winter m Winter Winter Winters
        spring m Frühling Frühlinge Frühlings
        autumn m Herbst Herbste Herbstes
        Monday m Montag Montage Montags
        Wednesday m Mittwoch Mittwoche Mittwochs
        Friday m Freitag Freitage Freitags
        Saturday m Samstag Samstage Samstags
        Sunday m Sonntag Sonntage Sonntags
        day m Tag Tage Tages
        week f Woche Wochen
        year n Jahr Jahre Jahres""",
}


def read_noun(line: str, kind: str) -> Noun:
    """Read one line of the tables."""
    english, gender, german, plural, *genitive = line.split()
    singular, _, irregular = english.partition("/")
    genitive_form = genitive[0] if genitive else german
    return Noun(
        english=singular,
        english_plural=irregular or english_plural(singular),
        german=german,
        german_plural=plural,
        genitive=genitive_form,
        gender=gender,
        kind=kind,
        weak=gender == "m" and not genitive_form.endswith("s"),
        mass=plural == "-",
    )


NOUNS: dict[str, Noun] = {
    noun.english: noun
    for kind, table in TABLES.items()
    for noun in (read_noun(line, kind) for line in table.strip().splitlines())
}
"""Every noun by its English singular, the most common of each kind first."""
UNOWNED = frozenset(
    [
        "man",
        "woman",
        "boy",
        "girl",
        "king",
        "princess",
        "painter",
        "waitress",
        "actress",
        "farmer",
        "baker",
        "bear",
        "mouse",
        "bird",
        "station",
        "church",
        "museum",
        "tower",
        "bridge",
        "library",
        "school",
        "train",
        "bus",
        "ship",
        "forest",
        "street",
        "river",
        "lake",
        "beach",
        "island",
        "market",
        "mountain",
        "tree",
        "park",
        "city",
    ]
)
"""Nouns without possessives: never "my king"."""
