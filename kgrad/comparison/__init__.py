"""Many runs side by side: which are sick, what separates them, and which differences are more than luck."""

from kgrad.comparison.comparing import compare, make_comparison, summarise_all
from kgrad.comparison.comparison import Comparison
from kgrad.comparison.summary import RunSummary, summarise

__all__ = ["Comparison", "RunSummary", "compare", "make_comparison", "summarise", "summarise_all"]
