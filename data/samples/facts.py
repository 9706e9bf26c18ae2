"""Which facts of countryinfo go into the samples, each read by eye, and why others stay out.

countryinfo 1.0.1 holds old entries, so nothing is taken only because it is there. A fact comes in when its country
is named here, the rules of `usable_fact` hold, and, for a currency, the code is one whose money still goes by this word.
"""

from __future__ import annotations

import re

CAPITALS = (
    "Albania",
    "Angola",
    "Armenia",
    "Azerbaijan",
    "Bahrain",
    "Barbados",
    "Belize",
    "Bhutan",
    "Botswana",
    "Brunei",
    "Burkina Faso",
    "Cambodia",
    "Cape Verde",
    "Central African Republic",
    "Comoros",
    "Dominica",
    "East Timor",
    "Eritrea",
    "Fiji",
    "Gabon",
    "The Gambia",
    "Georgia",
    "Ghana",
    "Guinea",
    "Guyana",
    "Honduras",
    "Kyrgyzstan",
    "Laos",
    "Lesotho",
    "Liberia",
    "Liechtenstein",
    "Madagascar",
    "Malawi",
    "Mali",
    "Marshall Islands",
    "Mauritius",
    "Mongolia",
    "Montenegro",
    "Mozambique",
    "Namibia",
    "Nicaragua",
    "Niger",
    "Palau",
    "Papua New Guinea",
    "Rwanda",
    "Saint Lucia",
    "Samoa",
    "Slovenia",
    "Solomon Islands",
    "Suriname",
    "Tajikistan",
    "Turkmenistan",
    "Tuvalu",
    "Uganda",
    "Vanuatu",
    "Zambia",
)
"""Countries with one undisputed seat of government that a small model often does not know."""

CURRENCY_WORDS = {
    "ALL": "lek",
    "AMD": "dram",
    "AOA": "kwanza",
    "AZN": "manat",
    "BDT": "taka",
    "BWP": "pula",
    "CNY": "yuan",
    "CZK": "koruna",
    "ERN": "nakfa",
    "ETB": "birr",
    "GEL": "lari",
    "GHS": "cedi",
    "GMD": "dalasi",
    "GTQ": "quetzal",
    "HNL": "lempira",
    "HUF": "forint",
    "IDR": "rupiah",
    "ISK": "krona",
    "KGS": "som",
    "KHR": "riel",
    "KRW": "won",
    "KZT": "tenge",
    "LAK": "kip",
    "MDL": "leu",
    "MGA": "ariary",
    "MMK": "kyat",
    "MNT": "tugrik",
    "MVR": "rufiyaa",
    "MWK": "kwacha",
    "MYR": "ringgit",
    "MZN": "metical",
    "NGN": "naira",
    "NIO": "cordoba",
    "PEN": "sol",
    "PGK": "kina",
    "PLN": "zloty",
    "PYG": "guarani",
    "RON": "leu",
    "THB": "baht",
    "TJS": "somoni",
    "TMT": "manat",
    "TRY": "lira",
    "UAH": "hryvnia",
    "VND": "dong",
    "VUV": "vatu",
    "WST": "tala",
    "ZAR": "rand",
}
"""Currencies with a word of their own. Dollars, francs, pesos, pounds and euros are left out: a guess would be right."""

CAPTAIN_TRAIN_COUNTRIES = (
    "Argentina",
    "Australia",
    "Austria",
    "Belgium",
    "Canada",
    "Chile",
    "Cuba",
    "Denmark",
    "Egypt",
    "Finland",
    "France",
    "Greece",
    "Hungary",
    "Iceland",
    "Ireland",
    "Italy",
    "Japan",
    "Kenya",
    "Morocco",
    "New Zealand",
    "Norway",
    "Peru",
    "Philippines",
    "Poland",
    "Portugal",
    "South Korea",
    "Spain",
    "Sweden",
    "Thailand",
    "Turkey",
)
CAPTAIN_HELD_OUT_COUNTRIES = (
    "Bangladesh",
    "Bulgaria",
    "Czech Republic",
    "Ecuador",
    "Germany",
    "India",
    "Jamaica",
    "Jordan",
    "Lebanon",
    "Nepal",
    "Romania",
    "United Kingdom",
    "Uruguay",
    "Vietnam",
)

CALIBRATION_COUNTRIES = (
    "Brazil",
    "China",
    "Colombia",
    "Croatia",
    "Cyprus",
    "Estonia",
    "Latvia",
    "Lithuania",
    "Malta",
    "Mexico",
    "Nigeria",
    "Oman",
    "Pakistan",
    "Paraguay",
    "Serbia",
    "Slovakia",
    "Tunisia",
    "Ukraine",
    "Venezuela",
    "Zimbabwe",
)
"""None of these is asked about in a held-out row of the captain's set, or for a capital in the travel set."""

LEFT_OUT = {
    "Benin": "government and parliament sit in two cities",
    "Bolivia": "two cities share the seat of government",
    "Burundi": "the capital moved to Gitega; countryinfo says Bujumbura",
    "Equatorial Guinea": "the capital is being moved",
    "Indonesia": "the capital is being moved",
    "Israel": "the capital is disputed",
    "Ivory Coast": "government and parliament sit in two cities",
    "Kazakhstan": "the capital is Astana again; countryinfo says Nur-Sultan",
    "Palestine": "the capital is disputed",
    "South Africa": "three capitals",
    "Sri Lanka": "countryinfo names the largest city, not the capital",
    "Sudan": "the government left the capital during the war",
    "Swaziland": "renamed Eswatini, with two capitals",
    "Republic of Macedonia": "renamed North Macedonia",
    "Yemen": "two governments in two cities",
}
"""Countries whose capital is never asked for, with the trap in the data."""

LEFT_OUT_CODES = {
    "BGN": "replaced by the euro in 2026",
    "BYR": "replaced by BYN",
    "HRK": "replaced by the euro in 2023",
    "MRO": "replaced by MRU",
    "SLL": "replaced by SLE",
    "STD": "replaced by STN",
    "VEF": "replaced by VES",
    "ZMK": "replaced by ZMW",
}
"""Codes that countryinfo still lists and no bank does."""

SPOKEN_NAMES = {
    "Central African Republic": "the Central African Republic",
    "Comoros": "the Comoros",
    "Czech Republic": "the Czech Republic",
    "Maldives": "the Maldives",
    "Marshall Islands": "the Marshall Islands",
    "Philippines": "the Philippines",
    "Solomon Islands": "the Solomon Islands",
    "The Gambia": "the Gambia",
    "United Kingdom": "the United Kingdom",
}

ECHO = 4
"""Letters that make two words look alike: Tunis and Tunisia, afghani and Afghanistan."""

PLAIN_WORDS = re.compile(r"[A-Za-z][A-Za-z -]+")


def spoken_name(country: str) -> str:
    """The name as it stands inside a sentence: `the Gambia`."""
    return SPOKEN_NAMES.get(country, country)


def usable_fact(country: str, fact: str) -> bool:
    """One plain spelling, and no word that begins like a word of the country, so an echo of the question is never right."""
    beginnings = {word[:ECHO] for word in country.lower().split()}
    is_echo = any(word[:ECHO] in beginnings for word in fact.lower().split())
    return PLAIN_WORDS.fullmatch(fact) is not None and not is_echo
