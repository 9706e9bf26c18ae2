class ModelConfig:
    def get_model_identifier(self) -> str:
        return ""
