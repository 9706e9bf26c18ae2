"""What went wrong with publishing, told with the way out that this screen has, and the cursor where it is."""

from __future__ import annotations

from toolkit.core.cloud import is_cloud_registry
from toolkit.core.run import RunState
from toolkit.core.whole_plan import WholePlan
from toolkit.errors import RegistryDenied, RightsMissing, SignInError, ToolkitError, VersionTaken
from toolkit.tui.screens.publish_cloud import IN, PublishCloud
from toolkit.tui.widgets.publish_words import first_sentence

REFUSED = RegistryDenied("The registry refused user and password.", "Type the password again, ^r goes on.")
WANTED = RegistryDenied("The registry wants a user and a password.", "Type both, ^r goes on.")
CLOUD_REFUSED = "Ask for the role AcrPush there, or write another registry; ^r goes on."
SIGN_IN = "Enter signs in; then ^r goes on."
VERSION = "Write another version, or none for the next one; ^r goes on."
RIGHTS = "The role to ask for stands below; ^o chooses another place."


class PublishRemedies(PublishCloud):
    """The part of the Publish screen that leads out of trouble."""

    def tell_failure(self, state: RunState) -> None:
        """Of a run that ended without success."""
        cause = next((step.cause for step in state.steps.values() if step.status == "failed"), "")
        problem = ToolkitError(state.problem, state.hint)
        if not self.tell_remedy(cause, problem):
            self.tell_problem(problem)

    def tell_remedy(self, cause: str, problem: ToolkitError) -> bool:
        """Tell a problem of this kind, its hint put in terms of the screen; False for one that has no remedy here."""
        if cause == RegistryDenied.__name__:
            self._tell_denial(problem)
        elif cause == SignInError.__name__:
            self.tell_problem(ToolkitError(problem.message, SIGN_IN))
            self.point_at_sign_in()
        elif cause == VersionTaken.__name__:
            self.tell_problem(ToolkitError(problem.message, VERSION))
            self.form.point_at(self.form.version)
        elif cause == RightsMissing.__name__:
            self.tell_problem(problem)
            self._point_at_place()
        else:
            return False
        return True

    def _tell_denial(self, problem: ToolkitError) -> None:
        """The way out is in the form; a command line has its own."""
        host = self.form.target.value.strip().partition("/")[0]
        if not is_cloud_registry(host) or self.form.user.value:
            self.tell_problem(REFUSED if self.form.user.value else WANTED)
            self.form.point_at_password()
        elif self.cloud_is != IN:
            self.tell_problem(ToolkitError(problem.message, SIGN_IN))
            self.point_at_sign_in()
        else:
            self.tell_problem(ToolkitError(problem.message, CLOUD_REFUSED))
            self.form.point_at(self.form.target)

    def _point_at_place(self) -> None:
        """Where another place can be written, for the role is somebody else's to give."""
        self.form.point_at(self.form.store if self.form.has_store else self.form.target)

    def point_at_what_the_plan_lacks(self, plan: WholePlan) -> None:
        missing = [right for right in plan.rights if right.is_held is False]
        if missing:
            self.tell_problem(ToolkitError(f"This sign-in may not {' and '.join(right.name for right in missing)}.", RIGHTS))
            is_workspaces = self.form.has_store and not missing[0].scope.startswith("registry")
            self.form.point_at(self.form.store if is_workspaces else self.form.target)
        elif plan.problems and plan.store and plan.version is None:
            self.tell_problem(ToolkitError(first_sentence(plan.problems[0]), VERSION))
            self.form.point_at(self.form.version)
