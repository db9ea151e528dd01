"""Page replacement step by step: the policies of textbooks, and what Linux really does."""

from .linux import LinuxExplanation, LinuxStep, explain_linux
from .policies import POLICIES
from .references import Reference
from .textbook import Explanation, Step, explain

__all__ = ["POLICIES", "Explanation", "LinuxExplanation", "LinuxStep", "Reference", "Step", "explain", "explain_linux"]
