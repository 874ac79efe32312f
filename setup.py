"""For editable installs in a project's own environment; everything else stands in pyproject.toml."""

from setuptools import setup

setup(
    packages=[
        room + below
        for room, parts in {
            "config": [""],
            "data": ["", ".datasets", ".loaders", ".shards", ".transforms"],
            "engine": [
                "",
                ".analysis",
                ".distillation",
                ".evaluators",
                ".figures",
                ".hooks",
                ".preflight",
                ".retrieval",
                ".search",
                ".shipping",
                ".shipping.examples",
            ],
            "layers": [""],
            "modeling": ["", ".losses", ".models"],
            "solver": ["", ".schedules"],
            "tracking": ["", ".commands", ".judging", ".keeping", ".mirrors", ".page", ".reading", ".screens"],
            "utils": [""],
        }.items()
        for below in parts
    ],
)
