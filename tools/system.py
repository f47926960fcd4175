"""Provide what Python packages cannot: a browser for the tests of the pages, and TeX for the PDF.

``python3 tools/system.py browser tex`` installs what is missing, by Debian's package manager and as
root; elsewhere it says in one line what to install, and ends with 1. What is there is left alone.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass

QUIET = {"DEBIAN_FRONTEND": "noninteractive"}
APT = ["apt-get", "-qq", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=600"]


class MissingError(RuntimeError):
    """Something is missing and could not be installed; one line says what to do."""


@dataclass(frozen=True)
class Tool:
    """Programs that do a task, one sufficing or all needed, and the Debian packages that hold them."""

    name: str
    commands: tuple[str, ...]
    packages: tuple[str, ...]
    one_suffices: bool = False

    def found(self) -> bool:
        """Whether its programs can be started from here."""
        enough = any if self.one_suffices else all
        return enough(shutil.which(command) for command in self.commands)

    def missing_packages(self) -> list[str]:
        """Its packages that are not installed; none where another source gave a program that suffices."""
        if self.one_suffices and self.found():
            return []
        return [package for package in self.packages if not installed(package)]


BROWSER = Tool(
    "a browser for the tests",
    ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"),
    ("chromium",),
    one_suffices=True,
)
TEX = Tool(
    "TeX for the PDF",
    ("xelatex", "latexmk", "xindy", "pdftotext", "pdftoppm"),
    (
        "texlive-latex-recommended",
        "texlive-latex-extra",
        "texlive-fonts-recommended",
        "texlive-xetex",
        "latexmk",
        "fonts-freefont-otf",
        "tex-gyre",
        "xindy",
        "poppler-utils",
    ),
)
TOOLS = {"browser": BROWSER, "tex": TEX}


def browser() -> str | None:
    """Path of a Chromium, or None where there is none."""
    return next(filter(None, map(shutil.which, BROWSER.commands)), None)


def installed(package: str) -> bool:
    """Whether Debian's package manager says that the package is installed."""
    query = ["dpkg-query", "--show", "--showformat=${db:Status-Status}", package]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    return done.stdout == "installed"


def may_install() -> bool:
    """Whether this is a Debian-like machine, and we are root on it."""
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    return is_root and all(map(shutil.which, ("apt-get", "dpkg-query")))


def provide(tool: Tool) -> None:
    """Install what is missing of a tool, or raise MissingError with what to install."""
    if not may_install():
        if not tool.found():
            packages = " ".join(tool.packages)
            raise MissingError(
                f"{tool.name} is missing: install {', '.join(tool.commands)}"
                f" (on Debian and Ubuntu: `sudo apt-get install {packages}`)"
            )
        return
    if missing := tool.missing_packages():
        print(f"Installing {tool.name}: {' '.join(missing)} ...", flush=True)
        apt("update")
        apt("install", *missing)


def apt(*arguments: str) -> None:
    """One call of apt-get; its last line is the reason when it fails."""
    call = [*APT, *arguments]
    done = subprocess.run(call, env=os.environ | QUIET, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()[-1]
        raise MissingError(f"apt-get {arguments[0]} failed: {said}")


def main(names: list[str]) -> int:
    """Provide the tools of these names, all by default."""
    unknown = [name for name in names if name not in TOOLS]
    if unknown:
        print(f"error: unknown {unknown[0]!r}; there are: {', '.join(TOOLS)}", file=sys.stderr)
        return 2
    try:
        for name in names or TOOLS:
            provide(TOOLS[name])
    except MissingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
