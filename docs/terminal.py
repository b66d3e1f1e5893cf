#!/usr/bin/env python3
"""Makes docs/terminal.svg from a real run: a relay, a tail and some publishing, without any configuration.

    cargo build --release && python3 docs/terminal.py

Needs tmux. What the three terminals show is captured with its colours and drawn, one below the other.
"""

import html
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import unicodedata

ROOT = pathlib.Path(__file__).resolve().parent.parent
COLUMNS, PATIENCE = 116, 20
# Width and height of a character, and the space around a terminal, in pixels.
CHAR, LINE, PAD, BAR = 7.8, 18, 14, 26
PAPER, BACK, INK, DIM, FRAME = "#0d1117", "#161b22", "#e6edf3", "#8b949e", "#30363d"
COLORS = ["#6e7681", "#ff7b72", "#7ee787", "#e3b341", "#79c0ff", "#d2a8ff", "#76e3ea", "#f0f6fc"]

# Of each terminal: its name, its height, and what is typed, each with what shows that it is done.
TERMINALS = [
    ("relay", 4, [("fedmsg-relay", " ready ")]),
    ("tail", 8, [("fedmsg-tail", None)]),
    (
        "publish",
        10,
        [
            ("echo hello | fedmsg publish log.line.create", r"\n\d{4}-[0-9a-f-]{36}"),
            (
                "fedmsg publish backup.run.end '{\"host\":\"db01\",\"gib\":45}' "
                "--summary 'db01: 45 GiB are safe'",
                r"\n\d{4}-[0-9a-f-]{36}",
            ),
            (
                "fedmsg publish disk.space.alert '{\"host\":\"db01\",\"free\":0.04}' --severity warning",
                r"\n\d{4}-[0-9a-f-]{36}",
            ),
            (
                "fedmsg publish build.job.fail '{\"job\":\"kernel\",\"step\":{\"name\":\"make\",\"code\":2}}' "
                "--severity error",
                r"\n\d{4}-[0-9a-f-]{36}",
            ),
            ("seq 3 | fedmsg publish --lines --quiet count.number.create", None),
        ],
    ),
]


class Tmux:
    """A tmux server of our own, with one window for each terminal."""

    def __init__(self, folder):
        self.socket = f"{folder}/tmux"
        self.env = {
            "PATH": f"{ROOT}/target/release:{os.environ['PATH']}",
            "HOME": folder,
            "FEDMSG_STATE_DIR": f"{folder}/state",
            "XDG_RUNTIME_DIR": f"{folder}/run",
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "HISTFILE": "",
        }
        for name in ("state", "run"):
            os.mkdir(f"{folder}/{name}", 0o700)

    def run(self, *words):
        command = ["tmux", "-S", self.socket, "-f", "/dev/null", *words]
        return subprocess.run(command, env=self.env, check=True, text=True, capture_output=True).stdout

    def open(self, name, height):
        shell = "env PS1='$ ' bash --norc --noprofile"
        size = ["-x", str(COLUMNS), "-y", str(height + 1)]
        self.run("new-session", "-d", "-s", name, *size, shell)
        self.run("set-option", "-t", name, "status", "off")
        self.until(name, r"\$$")

    def shown(self, name):
        """What a terminal shows, with its colours; without the empty lines at its end."""
        return self.run("capture-pane", "-e", "-p", "-t", name).rstrip("\n ")

    def until(self, name, pattern, after=0):
        end = time.monotonic() + PATIENCE
        while len(re.findall(pattern, plain(self.shown(name)))) <= after:
            if time.monotonic() > end:
                sys.exit(f"{name} never showed {pattern!r}:\n{self.shown(name)}")
            time.sleep(0.05)

    def type(self, name, text, done):
        before = len(re.findall(done, plain(self.shown(name)))) if done else 0
        self.run("send-keys", "-t", name, "-l", text)
        self.run("send-keys", "-t", name, "Enter")
        if done:
            self.until(name, done, before)


def plain(text):
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def style(codes, now):
    """What the SGR codes make of a style (colour, bold, dim)."""
    color, bold, dim = now
    for code in codes:
        if code == 0:
            color, bold, dim = None, False, False
        elif code in (1, 2):
            bold, dim = (bold or code == 1), (dim or code == 2)
        elif code == 22:
            bold = dim = False
        elif 30 <= code <= 37 or 90 <= code <= 97:
            color = COLORS[code % 10]
        elif code == 39:
            color = None
    return color, bold, dim


def line_svg(line, y):
    """One line: a text for each run of one style, each at its column."""
    out, column, now = [], 0, (None, False, False)
    for part in re.split(r"(\x1b\[[0-9;]*m)", line):
        if part.startswith("\x1b"):
            now = style([int(code or 0) for code in part[2:-1].split(";")], now)
            continue
        width = sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in part)
        if part.strip():
            color, bold, dim = now
            fill = color or (DIM if dim else INK)
            weight = ' font-weight="bold"' if bold else ""
            out.append(
                f'<text x="{PAD + column * CHAR:.1f}" y="{y}" fill="{fill}"{weight} '
                f'textLength="{width * CHAR:.1f}">{html.escape(part)}</text>'
            )
        column += width
    return out


def svg(terminals):
    width, y, out = round(2 * PAD + COLUMNS * CHAR), 0, []
    for name, text in terminals:
        lines = text.split("\n")
        height = BAR + len(lines) * LINE + PAD
        out.append(f'<rect x="0.5" y="{y + 0.5}" width="{width - 1}" height="{height}" rx="8" '
                   f'fill="{PAPER}" stroke="{FRAME}"/>')
        out.append(f'<text x="{width / 2}" y="{y + 17}" fill="{DIM}" text-anchor="middle">{name}</text>')
        for at, line in enumerate(lines):
            out += line_svg(line, y + BAR + 14 + at * LINE)
        y += height + 8
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" width="{width}" '
            f'height="{y}" font-family="ui-monospace,Menlo,Consolas,\'DejaVu Sans Mono\',monospace" '
            f'font-size="13" xml:space="preserve">')
    return "\n".join([head, *out, "</svg>", ""])


def main():
    with tempfile.TemporaryDirectory(prefix="bus-") as folder:
        tmux = Tmux(folder)
        try:
            for name, height, _ in TERMINALS:
                tmux.open(name, height)
            for name, _, typed in TERMINALS:
                for text, done in typed:
                    tmux.type(name, text, done)
                # A tail says nothing when it is connected.
                time.sleep(1)
            # The last of the numbers is there, and the prompt is back.
            tmux.until("tail", r'count\.number\.create \{"text":"3"\}')
            tmux.until("publish", r"\$$")
            shown = [(name, tmux.shown(name)) for name, _, _ in TERMINALS]
            for name in ("relay", "tail"):
                tmux.run("send-keys", "-t", name, "C-c")
                tmux.until(name, r"\$$")
        finally:
            tmux.run("kill-server")
    (ROOT / "docs" / "terminal.svg").write_text(svg(shown))


main()
