"""Trains a small network under watch, for the clean environment to report on."""

import sys
from dataclasses import replace

from kgrad.demo.run import run_story
from kgrad.demo.stories import STORIES

place = sys.argv[1]
folder, name = place.rsplit("/", 1)
run_story(replace(STORIES["healthy"], name=name, epochs=2), folder=folder, report=f"{folder}/ignored.html")
