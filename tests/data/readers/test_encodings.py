"""Text in other encodings: found where that is certain, refused where it is not, and never taken for another one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlguide.data.readers.encoding_guess import guess
from rlguide.data.readers.files import open_source
from rlguide.data.readers.source import ReadOptions
from rlguide.errors import UsageError
from tests.data.readers.reading import QUICK, read, refused, rows, values, write

SENTENCES = {
    "gb18030": "说出一种树。|橡树是一种很常见的树。|今天的天气怎么样？|请把这句话翻译成英文。|我不知道这个问题的答案。",
    "big5": "說出一種樹。|橡樹是一種很常見的樹。|今天的天氣怎麼樣？|請把這句話翻譯成英文。|我不知道這個問題的答案。",
    "shift_jis": "木の名前を一つ挙げてください。|樫の木はとても丈夫です。|今日の天気はどうですか。|わかりません。",
    "euc_jp": "木の名前を一つ挙げてください。|樫の木はとても丈夫です。|今日の天気はどうですか。|わかりません。",
    "euc_kr": "나무 이름을 하나 말해 주세요.|참나무는 아주 튼튼합니다.|오늘 날씨가 어때요?|잘 모르겠습니다.",
    "cp1252": "Où est la bibliothèque de l’école ?|Größe und Übung sind schön.|¿Dónde está el niño en España?"
    "|Ação não é opção à noite.|It’s a “good” answer — yes, I don’t know.|Är det här rätt väg?|Perché no? È già così.",
    "cp1251": "Назови дерево, которое растёт в лесу.|Большое спасибо за помощь.|Я не знаю ответа на этот вопрос.",
    "koi8_r": "Назови дерево, которое растёт в лесу.|Большое спасибо за помощь.|Я не знаю ответа на этот вопрос.",
}
NEVER = {  # refused: too like to one of the others
    "cp1250": "Příliš žluťoučký kůň úpěl ďábelské ódy.|Zażółć gęślą jaźń, proszę pana.|Őszi erdő, hűvös idő, jó napot."
    "|Mulţumesc, şi bine aţi venit înapoi.|Želim vam lep dan, čeprav je šele ponedeljek.",
    "cp1254": "Türkiye'nin başkenti Ankara'dır, şimdi değil.|Çok güzel bir gün, öğle yemeği.",
    "cp850": "Où est la bibliothèque déjà fermée ?|L'élève a été reçu à l'école.|Größe und Übung, schöne Bäume.",
    "mac_roman": "It’s a “good” answer — yes.|I don’t know, it’s “fine”.|We’re here, aren’t we?|Où est l’élève ?",
    "mac_cyrillic": "Назови дерево, которое растёт в лесу.|Я знаю для тебя меня.",
    "iso8859_5": "Назови дерево, которое растёт в лесу.|Большое спасибо за помощь.",
    "cp1257": "Lietuvių kalba yra graži, žinoma.|Ačiū už pagalbą, šiandien gražu.",
    "cp1253": "Ποιο είναι το όνομα του δέντρου;|Δεν ξέρω την απάντηση.",
    "cp1255": "מה שם העץ הזה?|אני לא יודע את התשובה.",
    "cp1256": "ما اسم هذه الشجرة؟|لا أعرف الجواب على هذا السؤال.",
    "tis_620": "สวัสดีครับ วันนี้อากาศเป็นอย่างไร|ฉันไม่รู้คำตอบ",
}
CHINESE = SENTENCES["gb18030"].split("|")


def lines(sentences: list[str]) -> list[dict[str, str]]:
    return [{"prompt": text, "chosen": text + " 1", "rejected": text + " 2"} for text in sentences]


def as_lines(sentences: list[str]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in lines(sentences))


@pytest.mark.parametrize("encoding", SENTENCES)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_some_sentences_of_a_language_tell_its_encoding(encoding: str, data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.sampled_from(SENTENCES[encoding].split("|")), min_size=1, max_size=6))
    text = as_lines(chosen)
    codec, name = guess(text.encode(encoding))
    assert codec == "" or text.encode(encoding).decode(codec) == text, (codec, name)
    if len(set(chosen)) > 2:
        assert codec, chosen


@pytest.mark.parametrize("encoding", NEVER)
def test_what_is_not_known_is_not_taken_for_another(encoding: str, tmp_path: Path) -> None:
    for sentences in ([one] for one in NEVER[encoding].split("|")):
        text = as_lines(sentences)
        codec, _ = guess(text.encode(encoding))
        assert codec == "" or text.encode(encoding).decode(codec) == text, (codec, sentences)
    path = write(tmp_path / "a.jsonl", as_lines(NEVER[encoding].split("|")).encode(encoding))
    what, fix = refused(path)
    assert "is not UTF-8" in what and "--encoding gb18030" in fix
    assert values(path, ReadOptions(encoding)) == lines(NEVER[encoding].split("|"))


@pytest.mark.parametrize("encoding", SENTENCES)
@pytest.mark.parametrize("kind", ["jsonl", "json", "csv"])
def test_files_in_other_encodings_are_read_and_said(tmp_path: Path, encoding: str, kind: str) -> None:
    found = lines(SENTENCES[encoding].split("|") * 3)
    table = "prompt,chosen,rejected\n" + "".join(",".join(f'"{cell}"' for cell in row.values()) + "\n" for row in found)
    written = {
        "jsonl": as_lines(SENTENCES[encoding].split("|") * 3),
        "json": json.dumps(found, ensure_ascii=False),
        "csv": table,
    }
    path = write(tmp_path / f"a.{kind}", written[kind].encode(encoding))
    source, read_back = read(path)
    assert read_back == found
    assert "not UTF-8: read as " in source.notes[0] and "--encoding overrules it" in source.notes[0]


@QUICK
@given(rows, st.sampled_from(["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "utf-8-sig"]))
def test_every_unicode_encoding(tmp_path: Path, found: list[dict[str, str]], encoding: str) -> None:
    for name, text in (
        ("a.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found)),
        ("a.json", json.dumps(found, ensure_ascii=False, indent=1)),
    ):
        path = write(tmp_path / name, text.encode(encoding))
        source, read_back = read(path)
        assert read_back == found
        assert bool(source.notes) == (encoding != "utf-8-sig")


def test_excel_writes_tables_in_utf_16_with_tabs(tmp_path: Path) -> None:
    text = "prompt\tchosen\trejected\r\n说一种树\t橡树\t石头\r\n"
    for name in ("a.csv", "a.txt", "a.tsv"):
        assert values(write(tmp_path / name, text.encode("utf-16"))) == [
            {"prompt": "说一种树", "chosen": "橡树", "rejected": "石头"}
        ]


def test_one_damaged_line_does_not_make_a_file_latin(tmp_path: Path) -> None:
    good = [json.dumps({"prompt": f"Größe {n}", "chosen": "ä", "rejected": "ö"}, ensure_ascii=False) for n in range(9)]
    for kind in ("cut character", "other encoding"):
        bad = b'{"prompt": "Gr\xc3", "chosen": "' if kind == "cut character" else good[0].encode("latin-1")
        path = write(tmp_path / "a.jsonl", b"\n".join([*map(str.encode, good), bad, b""]))
        source = open_source(path)
        assert [row.broken for row in source.rows()] == [""] * 9 + ["not UTF-8"]
        assert not source.notes
    ascii_only = [b'{"prompt": "q", "chosen": "a", "rejected": "b"}'] * 9
    path = write(tmp_path / "a.jsonl", b"\n".join([*ascii_only, b'{"prompt": "\xff\xfe"}', b""]))
    assert [row.broken for row in open_source(path).rows()] == [""] * 9 + ["not UTF-8"]


def test_the_first_character_beyond_ascii_may_be_far_down(tmp_path: Path) -> None:
    plain = json.dumps({"prompt": "q" * 1000, "chosen": "a", "rejected": "b"}) + "\n"
    text = plain * 3000 + as_lines(CHINESE)
    source, found = read(write(tmp_path / "a.jsonl", text.encode("gb18030")))
    assert found[-5:] == lines(CHINESE) and len(source.notes) == 1


def test_a_character_that_is_none_breaks_its_line_only(tmp_path: Path) -> None:
    whole = as_lines(CHINESE * 2).encode("gb18030").splitlines(keepends=True)
    whole[3] = b'{"prompt": "\xff\xff", "chosen": "a", "rejected": "b"}\n'
    path = write(tmp_path / "a.jsonl", b"".join(whole))
    broken = [row.broken for row in open_source(path, ReadOptions("gb18030")).rows()]
    assert broken == [""] * 3 + ["not GB18030"] + [""] * 6


def test_encoding_overrules_what_would_be_found(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", as_lines(["Grüße"]).encode("cp1252"))
    assert "is not UTF-8" in refused(path)[0]  # one word is not enough
    assert values(path, ReadOptions("cp1252")) == lines(["Grüße"])
    assert values(path, ReadOptions("cp1250")) == lines(["Grüße"])
    what, fix = refused(path, ReadOptions("big5"))
    assert "is not BIG5: 1 of its first" in what and "--encoding" in fix
    good = write(tmp_path / "b.jsonl", as_lines(CHINESE))
    assert read(good, ReadOptions("utf8"))[0].notes == ()


@pytest.mark.parametrize("name", ["rot13", "base64", "gb1830", "idna", "", "\0", "unicode_escape", "x" * 300])
def test_what_is_no_encoding_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="no such encoding") as caught:
        ReadOptions(name).check()
    assert "gb18030" in caught.value.fix


@pytest.mark.parametrize("encoding", ["utf-16", "gb18030", "big5"])
@QUICK
@given(data=st.data(), new=st.binary(min_size=1, max_size=4))
def test_damage_in_other_encodings_is_never_a_traceback(
    encoding: str, tmp_path: Path, data: st.DataObject, new: bytes
) -> None:
    from tests.data.readers.reading import survives

    whole = as_lines(SENTENCES.get(encoding, SENTENCES["gb18030"]).split("|")).encode(encoding)
    survives(tmp_path / "a.jsonl", whole, data.draw(st.integers(0, len(whole))), new)
