def fastest_dtype():
    return "float32"
