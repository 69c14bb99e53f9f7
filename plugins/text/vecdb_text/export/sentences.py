"""Sentences of many kinds: some to set the number ranges of the int8 graph by, others to check what came out.

No sentence stands in both lists, so that the check does not flatter. They differ in length, subject,
style, language and script.
"""

from __future__ import annotations

_ENGLISH = """
The old lighthouse keeper climbed the stairs every evening to light the lamp before the ships came in.
A man is playing a guitar on the street.
Two dogs run across a field of snow.
How do I reset the password of my account?
Interest rates were left unchanged by the central bank on Thursday, in line with what economists had expected.
The mitochondrion produces most of the chemical energy that a cell needs.
She said: "I don't think so, but let's ask him anyway!"
Boil the pasta in salted water for nine minutes, then drain it and stir in the butter.
The supersonic boundary layer over a flat plate was studied at Mach numbers between 2 and 5.
Shares of the company fell 7.3 % to $41.20 after it warned of weaker sales in Europe.
Who wrote the first novel in Japanese?
It rained.
def mean(values): return sum(values) / len(values)
SELECT name, price FROM products WHERE price > 100 ORDER BY price DESC;
Error 404: the page you asked for was not found on this server.
The patient was given 20 mg of prednisone daily for two weeks, and the symptoms went away.
Heavy snow closed the mountain pass, and hundreds of drivers had to spend the night in their cars.
What is the difference between a virus and a bacterium?
In 1969 the first people landed on the Moon; six hundred million watched on television.
The contract may be ended by either party with three months' notice in writing.
A woman slices an onion with a sharp knife.
The team scored twice in the last ten minutes and won the championship for the first time since 1987.
Thanks for your help yesterday :-) see you on Monday
Light travels through glass more slowly than through air, which is why a lens can bend it.
My grandmother's recipe for apple cake calls for cinnamon, raisins and far too much sugar.
Parliament voted 312 to 298 against the bill late on Tuesday night.
Never open an attachment from a sender that you do not know.
The violin concerto in D major was first performed in Leipzig on New Year's Day.
A small boat drifts on a lake among the mountains at sunrise.
Click "File", then "Export as…", and choose PNG.
The river has burst its banks and thousands of people have left their homes.
Photosynthesis turns carbon dioxide and water into sugar and oxygen.
I have been waiting for the bus for forty-five minutes!!!
The museum is closed on Mondays, except on public holidays.
Children are playing football in the park while their parents talk.
An algorithm sorts a list of n numbers in O(n log n) comparisons.
The court ruled that the evidence had been obtained unlawfully and could not be used.
Cheap flights to Lisbon in October
The vaccine protects nine of ten people who receive both doses.
Nobody knew where the music came from, but everyone began to dance.
"""

_WORDS = """
yes
no
hello
Paris
cat
thanks!
1984
?
why
blue car
C++
database
run
très bien
да
猫
네
"""

_OTHERS = """
Der Zug nach München fährt heute leider erst um 14 Uhr 35 ab.
Le conseil municipal a voté la rénovation de l'école primaire.
El perro duerme debajo de la mesa mientras la familia cena.
La biblioteca resta aperta fino alle otto di sera.
Het weer wordt morgen beter, met zon en weinig wind.
Сегодня вечером мы идём в театр смотреть новую пьесу.
今日は天気がいいので、公園を散歩しましょう。
这家餐厅的面条又便宜又好吃。
오늘 저녁에 친구와 영화를 보러 갈 거예요.
ذهب الطالب إلى المكتبة ليقرأ كتابا عن التاريخ.
आज बाज़ार में ताज़े फल और सब्ज़ियाँ मिल रही हैं।
Η θάλασσα ήταν ήρεμη και ο ήλιος έδυε αργά.
İstanbul'da bu sabah yoğun bir sis vardı.
Tàu sẽ đến ga lúc bảy giờ tối.
"""

_CHECKS = """
A cat is asleep on the sofa.
The committee will meet again next spring to decide on the budget for the following year.
Where can I buy a second-hand bicycle near the station?
ok
music
I agree
Scientists have found water ice in craters near the south pole of the Moon.
The engine failed shortly after take-off, but the pilot landed the aircraft safely on a motorway.
Prices start at €19.99 (incl. VAT); delivery takes 2–3 working days.
He has neither the time nor the money to repair the roof before winter.
import numpy as np; x = np.linspace(0, 1, 50)
A group of people is dancing on a stage.
Unemployment rose for the third month in a row, the statistics office said.
The heat transfer coefficient depends on the roughness of the wall and on the Reynolds number.
THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG
Ce soir, nous mangeons du poisson avec des pommes de terre.
Die Kinder bauen am Strand eine Burg aus Sand.
Где находится ближайшая аптека?
図書館は駅の隣にあります。
나는 아침마다 커피를 마신다.
متى يصل القطار القادم؟
naïve café — “coöperate” ﬁnd e\u0301\u0301 🙂🐕‍🦺 ½ № 42
https://example.org/a?b=c&d=%20e#top
zzxqj vvkk qqwrt
"""


def calibration_texts() -> list[str]:
    """Texts to set ranges by: short ones, and longer ones made of several."""
    single = _lines(_ENGLISH + _WORDS + _OTHERS)
    return single + [" ".join(single[start : start + 9]) for start in range(0, len(single), 6)]


def check_texts() -> list[str]:
    """Texts to check vectors with; the last ones are longer than most models take."""
    single = _lines(_CHECKS)
    paragraph = " ".join(single)
    return [*single, " ".join(single[:5]), paragraph, f"{paragraph} " * 40]


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line]
