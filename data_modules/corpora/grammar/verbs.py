"""The verbs, with what each one selects, and the modal verbs.

Columns: English ("|" before a particle, "+" before a preposition, "/" before an irregular past); German infinitive ("|"
after a separable prefix), third person, participle (both without the prefix), auxiliary h(aben) or s(ein); frame;
kinds of subjects; kinds of objects or single nouns; place; manners. `Verb` explains the last four.
"""

from data_modules.corpora.grammar.words import Modal, Verb, english_past, english_third, german_first

TABLE = """
sleep/slept          ; schlafen schläft geschlafen h      ; -       ; person,animal ; - ; + ; u
work                 ; arbeiten arbeitet gearbeitet h     ; -       ; person        ; - ; + ; wi
go/went              ; gehen geht gegangen s              ; -       ; person        ; - ; > ; wqs
get|up/got           ; auf|stehen steht gestanden s       ; -       ; person        ; - ; - ; qs
play                 ; spielen spielt gespielt h          ; -       ; child,girl,boy,son,daughter,dog,cat ; - ; + ; wqul
come/came            ; kommen kommt gekommen s            ; -       ; person,animal ; - ; origin ; qs
arrive               ; an|kommen kommt gekommen s         ; -       ; person,train,bus,ship ; - ; arrival ; w
wait                 ; warten wartet gewartet h           ; -       ; person,dog    ; - ; + ; p
stay                 ; bleiben bleibt geblieben s         ; -       ; person,dog,cat ; - ; ! ; w
laugh                ; lachen lacht gelacht h             ; -       ; person        ; - ; + ; wul
sing/sang            ; singen singt gesungen h            ; -       ; person,bird   ; - ; + ; ul
run/ran              ; laufen läuft gelaufen s            ; -       ; person,animal ; - ; > ; q
dance                ; tanzen tanzt getanzt h             ; -       ; person        ; - ; + ; ws
swim/swam            ; schwimmen schwimmt geschwommen s   ; -       ; person,duck,dog ; - ; lake ; wqs
cry                  ; weinen weint geweint h             ; -       ; child,girl,boy,princess,actress ; - ; + ; ul
wake|up/woke         ; auf|wachen wacht gewacht s         ; -       ; person,animal ; - ; - ;
fall|asleep/fell     ; ein|schlafen schläft geschlafen s  ; -       ; person,animal ; - ; + ; q
come|back/came       ; zurück|kommen kommt gekommen s     ; -       ; person,dog,cat ; - ; - ; wq
depart               ; ab|fahren fährt gefahren s         ; -       ; train,bus,ship ; - ; - ;
live                 ; wohnen wohnt gewohnt h             ; -       ; person        ; - ; ! ; w
sit/sat              ; sitzen sitzt gesessen h            ; -       ; person,animal ; - ; ! ; wu
stand/stood          ; stehen steht gestanden h           ; -       ; person,horse,cow,dog ; - ; ! ; u
drive/drove          ; fahren fährt gefahren s            ; -       ; person,bus    ; - ; road ; sc
hike                 ; wandern wandert gewandert s        ; -       ; person        ; - ; trail ; ws
read/read            ; lesen liest gelesen h              ; acc     ; person ; text ; + ; qsu
write/wrote          ; schreiben schreibt geschrieben h   ; acc     ; person ; text ; + ; qsb
buy/bought           ; kaufen kauft gekauft h             ; acc     ; person ; text,food,drink,clothing,thing,vehicle ; + ; b
see/saw              ; sehen sieht gesehen h              ; acc     ; person,animal ; person,animal,thing,vehicle,castle,lake,tower ; + ;
eat/ate              ; essen isst gegessen h              ; acc     ; person ; food ; + ; qsu
drink/drank          ; trinken trinkt getrunken h         ; acc     ; person ; drink ; + ; qs
find/found           ; finden findet gefunden h           ; acc     ; person,dog ; animal,clothing,thing,book,letter ; + ; q
love                 ; lieben liebt geliebt h             ; acc     ; person ; person,animal,poem,novel,garden,city ; - ;
visit                ; besuchen besucht besucht h         ; acc     ; person ; person,castle,museum,church,city,island ; - ; w
look+for             ; suchen sucht gesucht h             ; acc     ; person ; person,animal,clothing,thing ; + ; p
carry                ; tragen trägt getragen h            ; acc     ; person ; bag,suitcase,box,basket,chair,bottle,gift ; - ; sc
open                 ; auf|machen macht gemacht h         ; acc     ; person ; opening,box,bag,suitcase,bottle,letter ; - ; qsuc
close                ; zu|machen macht gemacht h          ; acc     ; person ; opening,box,bag,suitcase,book ; - ; qsuc
pick|up              ; ab|holen holt geholt h             ; acc     ; person ; person,suitcase,gift ; arrival ;
invite               ; ein|laden lädt geladen h           ; acc     ; person ; person ; - ;
call                 ; an|rufen ruft gerufen h            ; acc     ; person ; person ; - ;
put|on/put           ; an|ziehen zieht gezogen h          ; acc     ; person ; clothing ; - ; qs
bring|along/brought  ; mit|bringen bringt gebracht h      ; acc     ; person ; food,drink,gift,flower,picture,umbrella ; - ; b
take|along/took      ; mit|nehmen nimmt genommen h        ; acc     ; person ; clothing,bag,umbrella,book,dog ; - ;
tidy|up              ; auf|räumen räumt geräumt h         ; acc     ; person ; kitchen,room,office,house ; - ; qi
turn|on              ; ein|schalten schaltet geschaltet h ; acc     ; person ; lamp ; - ; q
hang|up/hung         ; auf|hängen hängt gehängt h         ; acc     ; person ; picture,coat,jacket,lamp,clock ; + ; sc
paint                ; malen malt gemalt h                ; acc     ; person ; picture,tree,flower,animal,castle,mountain ; + ; sb
repair               ; reparieren repariert repariert h   ; acc     ; person ; vehicle,opening,lamp,chair,clock ; + ; qc
wash                 ; waschen wäscht gewaschen h         ; acc     ; person ; clothing,car,apple,dog,window,bottle ; + ; qsc
cook                 ; kochen kocht gekocht h             ; acc     ; person ; soup,egg,potato,meat ; indoors ; wb
bake                 ; backen backt gebacken h            ; acc     ; person ; cake,bread ; indoors ; wb
sell/sold            ; verkaufen verkauft verkauft h      ; acc     ; person ; text,food,clothing,thing,vehicle ; + ;
lose/lost            ; verlieren verliert verloren h      ; acc     ; person ; clothing,key,bag,umbrella,ball,letter ; + ;
forget/forgot        ; vergessen vergisst vergessen h     ; acc     ; person ; clothing,key,bag,umbrella,gift,book ; + ;
hear/heard           ; hören hört gehört h                ; acc     ; person,animal ; person,animal,train,rain,storm,concert ; + ;
greet                ; grüßen grüßt gegrüßt h             ; acc     ; person ; person ; + ;
draw/drew            ; zeichnen zeichnet gezeichnet h     ; acc     ; person ; tree,flower,animal,house,bridge,ship ; + ; qsb
feed/fed             ; füttern füttert gefüttert h        ; acc     ; person ; animal ; + ; p
build/built          ; bauen baut gebaut h                ; acc     ; person ; house,boat,tower,bridge,castle ; - ; sb
help                 ; helfen hilft geholfen h            ; dat     ; person ; person ; + ; p
thank                ; danken dankt gedankt h             ; dat     ; person ; person ; - ;
follow               ; folgen folgt gefolgt s             ; dat     ; person,animal ; person,animal ; - ; qsu
listen+to            ; zu|hören hört gehört h             ; dat     ; person ; person ; - ; p
answer               ; antworten antwortet geantwortet h  ; dat     ; person ; person ; - ; pqu
trust                ; vertrauen vertraut vertraut h      ; dat     ; person ; person ; - ;
give/gave            ; geben gibt gegeben h               ; give    ; person ; text,food,drink,clothing,thing ; + ;
show/showed          ; zeigen zeigt gezeigt h             ; give    ; person ; text,clothing,thing,vehicle,building,garden ; - ;
bring/brought        ; bringen bringt gebracht h          ; give    ; person ; text,food,drink,clothing,thing ; - ;
send/sent            ; schicken schickt geschickt h       ; give    ; person ; text,gift,picture,flower ; - ;
lend/lent            ; leihen leiht geliehen h            ; give    ; person ; bicycle,car,umbrella,book,coat,bag ; - ;
explain              ; erklären erklärt erklärt h         ; explain ; person ; poem,picture,story,letter ; + ; p
recommend            ; empfehlen empfiehlt empfohlen h    ; explain ; person ; text,hotel,restaurant,museum,wine,cake ; - ;
give|back/gave       ; zurück|geben gibt gegeben h        ; explain ; person ; text,clothing,bag,key,umbrella,bicycle ; - ;
say/said             ; sagen sagt gesagt h                ; that    ; person ; - ; - ; u
believe              ; glauben glaubt geglaubt h          ; that    ; person ; - ; - ;
know/knew            ; wissen weiß gewusst h              ; that    ; person ; - ; - ;
hope                 ; hoffen hofft gehofft h             ; that    ; person ; - ; - ;
think/thought        ; denken denkt gedacht h             ; that    ; person ; - ; - ;
notice               ; bemerken bemerkt bemerkt h         ; that    ; person ; - ; - ;
ask                  ; fragen fragt gefragt h             ; whether ; person ; - ; - ; u
try                  ; versuchen versucht versucht h      ; to      ; person ; - ; - ;
begin/began          ; an|fangen fängt gefangen h         ; to      ; person ; - ; - ;
plan/planned         ; planen plant geplant h             ; to      ; person ; - ; - ;
promise              ; versprechen verspricht versprochen h ; to    ; person ; - ; - ;
decide               ; beschließen beschließt beschlossen h ; to    ; person ; - ; - ;
rain                 ; regnen regnet geregnet h           ; weather ; - ; - ; - ;
snow                 ; schneien schneit geschneit h       ; weather ; - ; - ; - ;
"""  # noqa: E501


def read_verb(line: str) -> Verb:
    """Read one line of the table."""
    english, german, frame, subjects, objects, place, manners = (column.strip() for column in line.split(";"))
    phrase, _, irregular = english.partition("/")
    base, _, particle = phrase.partition("|")
    base, _, preposition = base.partition("+")
    infinitive, third, participle, auxiliary = german.split()
    prefix, _, bare = infinitive.rpartition("|")
    return Verb(
        english=base,
        english_third=english_third(base),
        english_past=irregular or english_past(base),
        particle=particle,
        preposition=preposition,
        infinitive=bare,
        first="weiß" if bare == "wissen" else german_first(bare),
        third=third,
        participle=participle,
        prefix=prefix,
        auxiliary="haben" if auxiliary == "h" else "sein",
        frame=frame,
        subjects=frozenset(subjects.split(",")) - {"-"},
        objects=frozenset(objects.split(",")) - {"-"},
        place=place,
        manners=manners,
    )


VERBS: list[Verb] = [read_verb(line) for line in TABLE.strip().splitlines()]
"""Every verb, the most common of each frame first."""

BE = Verb(
    english="be", english_third="is", english_past="was", particle="", preposition="", infinitive="sein",
    first="bin", third="ist", participle="gewesen", prefix="", auxiliary="sein", frame="be",
    subjects=frozenset(), objects=frozenset(), place="-", manners="",
)  # fmt: skip
"""The copula: the one verb whose past is the German preterite."""

MODALS: list[Modal] = [
    Modal("can", "could", True, "kann", "können", "konnte", "konnten", True),
    Modal("want", "wanted", False, "will", "wollen", "wollte", "wollten", True),
    Modal("must", "", True, "muss", "müssen", "", "", False),
    Modal("should", "", True, "sollte", "sollten", "", "", True),
    Modal("may", "", True, "darf", "dürfen", "", "", True),
    Modal("have", "had", False, "", "", "musste", "mussten", True),
]
"""A modal without a present or without a past is only used in the other ("must", but "had to")."""
