"""The older name of ``hub.load_state_dict_from_url``."""

from ..absent import hints as _hints
from ..hub import load_state_dict_from_url, load_url

__all__ = ["load_state_dict_from_url", "load_url"]

__getattr__ = _hints(__name__)
