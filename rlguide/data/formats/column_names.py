"""The names that datasets give to their columns."""

from __future__ import annotations

# The first of each that a row has is taken. Responses are texts or messages, or objects with a text and a score.
RESPONSE_LISTS = (
    *("completions", "responses", "answers", "candidates", "generations", "outputs", "all_generated_responses"),
)

RANK_LISTS = ("ranks", "rank")  # 1 is the best
SCORE_LISTS = ("scores", "ratings", "rewards", "labels", "all_rm_scores")
LISTS = ("conversations", "messages", "history", "rating", *RESPONSE_LISTS, *SCORE_LISTS, *RANK_LISTS)
RESPONSES = ("chosen", "rejected")
# The first two that a row has are taken. Their names end with the letter or number that the winner is called by.
RESPONSE_PAIRS = (
    ("response_0", "response_1"),  # PKU-SafeRLHF
    ("response_1", "response_2"),  # HelpSteer2
    ("response1", "response2"),  # HelpSteer3
    ("response_a", "response_b"),
    ("conversation_a", "conversation_b"),  # Chatbot Arena: whole conversations
    ("answer_0", "answer_1"),
    ("answer_1", "answer_2"),
    ("answer_a", "answer_b"),
    ("output_1", "output_2"),  # AlpacaFarm
    ("completion_a", "completion_b"),
    ("human_ref_A", "human_ref_B"),  # SHP
)

RESPONSE_COLUMNS = tuple(dict.fromkeys(column for pair in RESPONSE_PAIRS for column in pair))
# Of argilla, and of others; here the names say which is the better one.
BETTER_AND_WORSE = ("chosen_response", "rejected_response", "response_chosen", "response_rejected")

TEXT_OR_MESSAGES = (
    *("prompt", "input", "question", "context", *RESPONSES, "completion", "response", *RESPONSE_COLUMNS),
    *(*BETTER_AND_WORSE, "preferred_output", "non_preferred_output"),
)

# Names of columns that hold a piece of what is asked, in small letters and without signs.
PIECES = {
    *("prompt", "prompts", "userprompt", "instruction", "instructions", "input", "inputs", "userinput"),
    *("query", "userquery", "question", "questiontext", "usermessage", "premise", "background"),
    *("context", "contexts", "passage", "passages", "document", "documents", "article"),
    *("history", "chathistory", "conversationhistory", "messages", "conversation", "conversations"),
    *("dialogue", "dialog", "persona", "preamble", "sysprompt"),
    *("system", "systemprompt", "systemmessage", "systeminstruction", "systeminstructions", "systemtext"),
}

# How a winner is read. A number in a column of the second kind may be a place or a grade: 0 and 1 are not taken.
PLACES = ("winner", "better_response_id")
NAMES = ("preference", "preferred", "better")
STRENGTHS = ("preference_strength", "overall_preference")  # HelpSteer: below 0 the first is better, above 0 the second
FIRST_IS_ONE = ("labels",)  # SHP: 1 if A is better, 0 if B is
WINNERS = (*PLACES, *NAMES, *STRENGTHS, *FIRST_IS_ONE)
OTHER_PROMPTS = ("context", "input", "history")  # where a row has none of PROMPTS: HelpSteer3, others, SHP
PROMPT_COLUMNS = ("prompt", "instruction", "question", "query", "input", "messages", "conversations")
PROMPTS = ("messages", "conversations", "prompt", "instruction", "question")  # the first that a row has is taken
LABELS = ("label", "kto_tag")  # TRL's name and LLaMA-Factory's
COMPLETIONS = ("completion", "response", "answer")
CONVERSATIONS = ("messages", "conversations")
SYSTEM = ("system", "system_prompt", "system_message")
MEDIA = ("tools", "images", "image", "videos", "audios")
MEDIA_NAMES = frozenset(MEDIA)
# The names that datasets give to the scores of the two responses: UltraFeedback Binarized first.
SCORE_COLUMNS = (
    ("score_chosen", "score_rejected"),
    ("chosen_score", "rejected_score"),
    ("chosen_rating", "rejected_rating"),
    ("chosen-rating", "rejected-rating"),
    ("rating_chosen", "rating_rejected"),
    ("chosen_reward", "rejected_reward"),
    ("reward_chosen", "reward_rejected"),
    ("chosen_avg_rating", "rejected_avg_rating"),
)

RATED = ("rating", "generations")  # two scores in one list, in the order of the responses in the other, if it is there
SCORES = (*(column for columns in SCORE_COLUMNS for column in columns), *RATED)
SCORE_KEYS = ("overall_score", "score", "rating", "reward")
RANK_KEYS = ("rank",)
