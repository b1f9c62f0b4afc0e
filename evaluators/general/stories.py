"""Stories of word problems. A capital letter in braces is a name, a small one a number that is drawn from
the range given last; the expression leads to the answer in whole steps."""

STORIES = [
    ("{N} carries {a} jars of honey to the market and comes home with {b}. How many jars were sold?",
     "{a} - {b}", dict(a=(30, 90), b=(3, 25))),
    ("A ferry has {a} rows of {b} seats. On today's trip {c} seats stay empty. How many passengers are on board?",
     "{a} * {b} - {c}", dict(a=(6, 15), b=(4, 9), c=(3, 20))),
    ("{N} plants {a} tulips and twice as many crocuses. A hare eats {b} of all these flowers. How many are left?",
     "{a} + 2 * {a} - {b}", dict(a=(12, 40), b=(3, 11))),
    ("{N} and {M} collect shells. {N} finds {a}, {M} finds {b} more than {N}. How many do they have together?",
     "{a} + {a} + {b}", dict(a=(11, 60), b=(3, 20))),
    ("A rope of {a} metres is cut into pieces of {b} metres each. How many pieces are there?",
     "{a} / {b}", dict(a=(24, 120), b=(3, 9))),
    ("A bakery makes {a} trays with {b} rolls each. It packs the rolls into bags of {c}. How many bags does it fill?",
     "{a} * {b} / {c}", dict(a=(6, 15), b=(8, 24), c=(3, 6))),
    ("{N} reads {a} pages a day for {b} days. The book has {c} pages. How many pages remain?",
     "{c} - {a} * {b}", dict(a=(12, 30), b=(3, 8), c=(150, 400))),
    ("A bus leaves with {a} people. At the first stop {b} get off and {c} get on, at the second stop {d} get off. "
     "How many people are on the bus then?", "{a} - {b} + {c} - {d}", dict(a=(25, 50), b=(3, 12), c=(2, 15), d=(4, 10))),
    ("A cinema ticket costs {a} euros for an adult and {b} euros for a child. What do tickets for {c} adults and {d} "
     "children cost, in euros?", "{a} * {c} + {b} * {d}", dict(a=(9, 15), b=(4, 8), c=(2, 5), d=(2, 6))),
    ("{N} pays for {a} notebooks at {b} coins each with {c} coins. How many coins does {N} get back?",
     "{c} - {a} * {b}", dict(a=(3, 9), b=(4, 9), c=(85, 120))),
    ("A tank holds {a} litres. A pump takes out {b} litres each minute. How many litres are left after {c} minutes?",
     "{a} - {b} * {c}", dict(a=(300, 900), b=(7, 19), c=(5, 14))),
    ("{N} weaves {a} baskets each week. After {b} weeks, {c} baskets are given to {M} and the rest are sold for {d} "
     "coins each. How many coins does {N} earn?",
     "({a} * {b} - {c}) * {d}", dict(a=(4, 9), b=(3, 8), c=(2, 8), d=(5, 12))),
    ("Four friends share a bill of {a} francs and a tip of {b} francs equally. How many francs does each pay?",
     "({a} + {b}) / 4", dict(a=(60, 200), b=(4, 20))),
    ("A train runs {a} kilometres each hour for {b} hours, then {c} kilometres each hour for {d} hours. How many "
     "kilometres does it run in all?",
     "{a} * {b} + {c} * {d}", dict(a=(60, 120), b=(2, 5), c=(40, 90), d=(2, 4))),
    ("{N} is {a} years old. {M} is three times as old as {N} was {b} years ago. How old is {M}?",
     "({a} - {b}) * 3", dict(a=(12, 24), b=(2, 7))),
    ("A shelf has {a} boards with {b} books on each. {N} takes half of all the books away. How many books stay?",
     "{a} * {b} / 2", dict(a=(3, 8), b=(12, 30))),
    ("Of {a} eggs, {b} are broken. The others go into boxes of a dozen. How many boxes are filled?",
     "({a} - {b}) / 12", dict(a=(60, 200), b=(2, 20))),
    ("A garden is {a} metres long and {b} metres wide. How many metres of fence go once around it, if a gate of {c} "
     "metres needs no fence?", "2 * ({a} + {b}) - {c}", dict(a=(12, 40), b=(6, 11), c=(2, 4))),
    ("{N} cycles {a} kilometres to work and the same way back, on {b} days a week. How many kilometres is that in {c} "
     "weeks?", "2 * {a} * {b} * {c}", dict(a=(3, 14), b=(3, 5), c=(2, 6))),
    ("A school has {a} pupils. {b}% of them come by bus, and the others walk. How many pupils walk?",
     "{a} - {a} * {b} / 100", dict(a=(120, 600), b=(15, 65))),
    ("A coat costs {a} dollars. The shop takes {b}% off. How many dollars does {N} pay?",
     "{a} - {a} * {b} / 100", dict(a=(60, 240), b=(5, 45))),
    ("{N} has {a} stamps, {M} has {b}. How many stamps must {M} give to {N} so that both have the same number?",
     "({b} - {a}) / 2", dict(a=(14, 50), b=(60, 130))),
    ("A printer makes {a} pages a minute, an older one {b} pages a minute. Both run at once. In how many minutes do they "
     "print {c} pages together?", "{c} / ({a} + {b})", dict(a=(14, 30), b=(5, 12), c=(120, 600))),
    ("{N} saves {a} coins every week and already has {b}. A drum costs {c} coins. For how many more weeks must {N} save "
     "to have exactly enough?", "({c} - {b}) / {a}", dict(a=(6, 15), b=(10, 50), c=(100, 240))),
    ("A farmer keeps {a} hens and {b} goats. How many legs do these animals have?",
     "{a} * 2 + {b} * 4", dict(a=(8, 40), b=(3, 20))),
    ("There are {a} lamps in a hall. A third of them are off and {b} of the others flicker. How many shine steadily?",
     "{a} - {a} / 3 - {b}", dict(a=(24, 90), b=(2, 9))),
    ("{N} bakes {a} cakes with {b} eggs each and has {c} eggs. How many eggs are missing?",
     "{a} * {b} - {c}", dict(a=(5, 12), b=(4, 7), c=(6, 18))),
    ("A climber goes up {a} metres, slips back {b} metres and goes up {c} metres again. The top is {d} metres above "
     "the start. How many metres are still to climb?", "{d} - ({a} - {b} + {c})",
     dict(a=(200, 400), b=(15, 60), c=(80, 190), d=(650, 990))),
    ("A recipe for {a} people takes {b} grams of rice. How many grams does {N} need for {c} people?",
     "{b} / {a} * {c}", dict(a=(3, 6), b=(180, 600), c=(7, 12))),
    ("In a box lie {a} red beads, {b} fewer blue beads than red ones, and twice as many white beads as blue ones. How many "
     "white beads are there?", "({a} - {b}) * 2", dict(a=(25, 60), b=(4, 18))),
    ("{N} works {a} hours a day for {b} days at {c} pounds an hour and spends {d} pounds on the way. How many pounds are "
     "left?", "{a} * {b} * {c} - {d}", dict(a=(4, 8), b=(3, 5), c=(11, 19), d=(20, 60))),
    ("A clock shop repairs {a} clocks in {b} days, the same number each day. How many clocks does it repair in {c} days?",
     "{a} / {b} * {c}", dict(a=(20, 72), b=(4, 6), c=(7, 15))),
    ("Two teams dig a canal of {a} metres from both ends. One digs {b} metres a day, the other {c}. How many metres are "
     "left between them after a week?", "{a} - ({b} + {c}) * 7", dict(a=(300, 600), b=(8, 18), c=(9, 20))),
    ("{N} picks {a} apples, {M} picks {b} and {O} picks {c}. They share them all equally among the three. How many does each "
     "get?", "({a} + {b} + {c}) / 3", dict(a=(15, 50), b=(15, 50), c=(15, 50))),
    ("A film lasts {a} hours and {b} minutes. {N} has watched {c} minutes. How many minutes remain?",
     "{a} * 60 + {b} - {c}", dict(a=(2, 3), b=(5, 50), c=(25, 95))),
    ("Of the {a} chairs in a tent, {b} are taken. Then {c} families of {d} people come in and sit down. How many chairs are "
     "still free?", "{a} - {b} - {c} * {d}", dict(a=(90, 160), b=(20, 40), c=(3, 7), d=(3, 5))),
    ("A snail crawls {a} centimetres by day and slides back {b} centimetres by night. How many centimetres has it gained "
     "after {c} days and {c} nights?", "({a} - {b}) * {c}", dict(a=(30, 70), b=(5, 25), c=(4, 11))),
    ("{N} buys {a} crates of {b} bottles. {c} bottles break, and {M} drinks {d}. How many full bottles are left?",
     "{a} * {b} - {c} - {d}", dict(a=(3, 9), b=(10, 24), c=(3, 8), d=(2, 7))),
    ("A tailor has {a} metres of cloth. A shirt takes {b} metres and a gown {c} metres. After {d} shirts, how many gowns can "
     "be made from exactly all that is left?",
     "({a} - {b} * {d}) / {c}", dict(a=(40, 90), b=(2, 3), c=(4, 6), d=(5, 9))),
    ("{N} folds {a} paper cranes an hour, {M} folds {b}. After {c} hours, how many more cranes has {N} folded than {M}?",
     "({a} - {b}) * {c}", dict(a=(15, 28), b=(6, 13), c=(3, 9))),
]

NAMES = """Amara Bilal Chiara Dmitri Eilidh Farid Giulia Hiroshi Ingrid Jamila Kwame Leilani Mateo Nasrin Oluwaseun
Priya Quyen Rasmus Sinazo Tomasz Ulla Valentina Wanjiru Ximena Yusuf Zofia Aroha Bao Candela Deepika Emeka Freya
Gulnara Hana Itzel Joon Katarina Lucas Mei Noor""".split()
