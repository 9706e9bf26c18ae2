"""Everything that can go wrong and that we can name. Each error carries the way out and an exit code.

ToolkitError                     1
├── RecipeError                  3   the recipe file is wrong: file, line, remedy
├── DataError                    3   a dataset is wrong: file, line, remedy
├── ModelError                   3   the base model cannot be used
├── EngineError                  4   the container engine or the build environment refused
│   └── EngineMissing            4   nothing answers, or something is not installed
├── RunError                     5
│   ├── RunMissing               5   no such run
│   ├── RunBusy                  5   somebody drives this run right now
│   └── RunTooNew                5   the folder was written by a newer version
├── DiskError                    6   the plan does not fit on the disk
├── ChatError                    7   the model did not answer
│   ├── PromptTooLong            7   prompt and answer do not fit the model's context
│   └── ModelOutOfMemory         7   its server was killed: the memory limit was too small
├── PublishError                 8   the registry refused, or holds something else than we sent
│   ├── RegistryDenied           8   wrong or missing credentials
│   └── VersionTaken             8   the model's version is there with other content
└── CloudError                   9   the cloud refused, or cannot be reached
    ├── CloudMissing             9   its libraries are not installed
    ├── SignInError              9   nobody is signed in
    └── RightsMissing            9   signed in, but not allowed; names each role and where
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What `edge` tells the shell."""

    OK = 0
    FAILED = 1
    USAGE = 2
    BAD_INPUT = 3
    ENGINE = 4
    RUN = 5
    DISK = 6
    CHAT = 7
    PUBLISH = 8
    CLOUD = 9
    DETACHED = 130
    """Ctrl-C on an attached command: the run goes on."""


class ToolkitError(Exception):
    """A problem a person can do something about: what is wrong, and the way out."""

    exit_code = ExitCode.FAILED

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class RecipeError(ToolkitError):
    exit_code = ExitCode.BAD_INPUT


class DataError(ToolkitError):
    exit_code = ExitCode.BAD_INPUT


class ModelError(ToolkitError):
    exit_code = ExitCode.BAD_INPUT


class EngineError(ToolkitError):
    exit_code = ExitCode.ENGINE


class EngineMissing(EngineError):
    pass


class RunError(ToolkitError):
    exit_code = ExitCode.RUN


class RunMissing(RunError):
    pass


class RunBusy(RunError):
    pass


class RunTooNew(RunError):
    pass


class DiskError(ToolkitError):
    exit_code = ExitCode.DISK


class ChatError(ToolkitError):
    exit_code = ExitCode.CHAT


class PromptTooLong(ChatError):
    pass


class ModelOutOfMemory(ChatError):
    pass


class PublishError(ToolkitError):
    exit_code = ExitCode.PUBLISH


class RegistryDenied(PublishError):
    pass


class VersionTaken(PublishError):
    pass


class CloudError(ToolkitError):
    exit_code = ExitCode.CLOUD


class CloudMissing(CloudError):
    pass


class SignInError(CloudError):
    pass


class RightsMissing(CloudError):
    pass
