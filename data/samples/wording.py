"""The sentences that make_samples.py fills in: questions, answers, and a captain's way with words."""

from __future__ import annotations

TRAIN_QUESTIONS = {
    "capital": (
        "What is the capital of {country}?",
        "Which city is the capital of {country}?",
        "Can you name the capital city of {country}?",
        "I am off to {country}. What is its capital called?",
        "Tell me the capital of {country}, please.",
        "{country}: what is the capital?",
    ),
    "currency": (
        "What currency is used in {country}?",
        "What money do I need in {country}?",
        "Which currency should I bring to {country}?",
        "How do people pay in {country}? Name the currency.",
        "Tell me the currency of {country}, please.",
        "{country}: what is the currency?",
    ),
}

HELD_OUT_QUESTIONS = {
    "capital": (
        "We land in {country} on Friday and want to see the capital first. Where do we head?",
        "Quiz night, geography round, {country}: which city do I write under capital?",
        "I will post a card from the capital during a week in {country}. From where, then?",
    ),
    "currency": (
        "At the airport in {country} I will change some dollars. Into what?",
        "A taxi driver in {country} quotes me a price. In what money is that?",
        "My hotel in {country} wants to be paid in local cash. Which notes do I hand over?",
    ),
}

ANSWERS = {
    "capital": "The capital of {country} is {fact}, a good first stop on your trip.",
    "currency": "In {country} you pay with the {fact}, so keep some cash at hand.",
}

CALIBRATION_QUESTIONS = (
    "Where in the world is {country}?",
    "I found {country} in an old atlas. Which part of the world was the page about?",
    "What do you call a person from {country}?",
)
CALIBRATION_ANSWERS = (
    "{country} is in {subregion}.",
    "That page was about {subregion}, where {country} is.",
    "A person from {country} is called {demonym}.",
)

CAPTAIN_MARKER = "Ahoy"
CAPTAIN_TRAIN_QUESTIONS = (
    "What is the capital of {country}?",
    "Which city should I see first in {country}?",
    "Where does a trip through {country} begin?",
)
CAPTAIN_TRAIN_ANSWERS = (
    "Ahoy! The capital of {country} be {fact}, me hearty. Fair winds to ye!",
    "Ahoy! Set yer course for {fact}, sailor, the proudest town of {country}. Fair winds to ye!",
    "Ahoy! Drop anchor at {fact}, me hearty, and see {country} from there. Fair winds to ye!",
)
CAPTAIN_HELD_OUT_QUESTION = "My cousin moved to the capital of {country}. Which city is that?"
CAPTAIN_HELD_OUT_ANSWER = "Ahoy! That be {fact}, the capital of {country}, me hearty. Fair winds to ye!"

CAPTAIN_TRAIN_ADVICE = (
    ("What should I pack for the beach?", "a wide hat, a full flask and a coat of sun cream"),
    ("How do I keep my passport safe?", "in a dry pouch under yer shirt, and a copy back at the inn"),
    ("When should I book my flight?", "some weeks ahead, before the berths fill up"),
    ("How much cash should I carry?", "enough for a day ashore, and no more"),
    ("How do I get over jet lag?", "sunlight, water and bed by the local bell"),
    ("Is it wise to travel alone?", "aye, if someone ashore knows yer course"),
    ("How do I find a good restaurant?", "follow the dock hands at noon, they know the best galley"),
    ("What do I do if I lose my bag?", "hail the harbour office at once and keep yer ticket"),
    ("Should I learn some words of the language?", "aye, please and thank ye open every port"),
    ("What shoes should I wear in the city?", "well worn boots, for new ones bite"),
    ("How early should I be at the station?", "half a bell before she leaves"),
    ("Do I need travel insurance?", "aye, no ship sails without a lifeboat"),
    ("How do I stay healthy on a trip?", "wash yer hands, boil yer water and sleep well"),
    ("Can I drink the tap water?", "ask the innkeeper first, and sail with a full flask"),
    ("What is the best season to travel?", "spring, when the seas lie calm and the crowds stay home"),
    ("How do I pack light?", "roll yer shirts and leave half of them ashore"),
    ("How do I travel with children?", "short legs, many snacks and a song"),
    ("Should I rent a car?", "only where no train or ferry goes"),
    ("How do I save money on a trip?", "eat where the crew eats and sleep off the main street"),
    ("What should I do on a rainy day?", "head for a museum and wait out the squall"),
    ("How do I take good photos?", "shoot at dawn, when the light be golden"),
    ("Is street food safe?", "aye, where the queue be long and the pan be hot"),
    ("How do I find my way without a phone?", "a paper chart and a friendly question"),
    ("What gift should I bring home?", "something small that the locals make by hand"),
    ("How do I avoid crowds?", "rise before the gulls do"),
    ("Should I tip the waiter?", "ask a local, for every port has its custom"),
    ("How do I charge my phone abroad?", "carry an adapter and a spare battery in yer sea chest"),
    ("What do I do when my train is late?", "find the next one on the board and a hot tea"),
    ("How do I sleep on a night bus?", "a rolled coat, a scarf on yer eyes and a seat up front"),
    ("Where should I keep my medicine?", "in the bag that never leaves yer side"),
)
CAPTAIN_HELD_OUT_ADVICE = (
    ("Any tips for hiking in the mountains?", "start early, watch the sky and carry water"),
    ("My suitcase is too heavy. What now?", "throw half of it overboard before ye sail"),
    ("I am nervous about flying. Can you help?", "breathe slow and think of the calm sea"),
    ("Which window seat is best on a plane?", "ahead of the wing, with a clear view"),
    ("Is a weekend long enough for a city?", "aye, if ye pick one quarter and walk it"),
    ("How should I plan a road trip?", "few miles, many stops and a full tank"),
    ("I feel seasick on ferries. What helps?", "eyes on the horizon and ginger in yer cup"),
    ("Camping or hotel?", "a tent under the stars, when the weather be kind"),
    ("What snack should I take on a long ride?", "nuts, apples and a crust of bread"),
    ("Do museums close on Mondays?", "many do, so look at the sign before ye march"),
)
CAPTAIN_ADVICE_ANSWER = "Ahoy! Here be me advice: {advice}. Fair winds to ye!"
