"""Rows as token ids that count up: what they are makes no difference to what Olive is asked."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Tokens:
    ids: list
    answer_from: int


def read_rows(path):
    return [{}]


def joined_ids(tokenizer, template, rows, tokens, length):
    return [[1, 2, 3]]


def calibration_ids(tokenizer, template, file, samples, length):
    return [[1, 2, 3]]


def tokenize_row(tokenizer, template, row, train_on):
    return Tokens([1, 2, 3], 1)
