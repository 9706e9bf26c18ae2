class Registry:
    @staticmethod
    def register_dataset(name):
        return lambda function: function
