KNOWN_MODEL_TYPES = ("llama", "phi3")


class UnknownDecoder(Exception):
    pass


def check_known(config):
    return None
