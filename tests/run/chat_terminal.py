"""Talks to rsr-run --chat at a terminal. Used by chat_terminal.test.

    chat_terminal.py SCENE MODEL    a scene of those below; prints what the terminal showed and the exit status
"""
import os
import pty
import select
import signal
import sys
import termios
import time


class Terminal:
    """A program that runs at a terminal of its own."""

    def __init__(self, *command):
        self.shown = ""
        self.pid, self.leader = pty.fork()
        if self.pid == 0:
            settings = termios.tcgetattr(0)
            settings[3] |= termios.NOFLSH  # so that Ctrl-C does not discard output that is being shown
            termios.tcsetattr(0, termios.TCSANOW, settings)
            os.execvp(command[0], command)

    def read(self):
        """Reads the output of the next moment. False at the end."""
        if select.select([self.leader], [], [], 0.1)[0]:
            try:
                block = os.read(self.leader, 65536)
            except OSError:  # the program has ended
                block = b""
            if not block:
                return False
            self.shown += block.decode(errors="replace").replace("\r", "")
        return True

    def wait_for(self, text, after=0):
        deadline = time.monotonic() + 60
        while text not in self.shown[after:]:
            if not self.read() or time.monotonic() > deadline:
                sys.exit(f"no {text!r} in {self.shown!r}")

    def say(self, line):
        """Sends a line, as soon as there is an unused prompt for it."""
        self.wait_for("> ")
        before, self.shown = self.shown, ""
        print(before, end="")
        os.write(self.leader, line)

    def interrupt(self):
        os.write(self.leader, b"\x03")

    def end(self):
        while self.read():
            pass
        print(self.shown, end="")
        status = os.waitpid(self.pid, 0)[1]
        print("exit", os.waitstatus_to_exitcode(status))


def answered(terminal):
    terminal.wait_for("; stop: ")


def interrupted(terminal):
    """Interrupts a very long answer, as soon as some of it is shown."""
    terminal.say(b"Tell me all\n")
    terminal.wait_for("Tell me all\n")
    while not terminal.shown.split("Tell me all\n")[1].strip():
        terminal.read()
    terminal.interrupt()
    answered(terminal)


def commands(model):
    terminal = Terminal("rsr-run", model, "--chat", "-n", "4", "--system", "Be short")
    terminal.say(b"/help\n")
    terminal.say(b"Who art thou?\n")
    answered(terminal)
    terminal.say(b"/rest\n")
    terminal.say(b"\n")
    terminal.say(b"a\x16\x00b\n")  # Ctrl-V: the next character is itself
    terminal.say(b"/reset\n")
    terminal.say(b"/etc/passwd and /usr\n")
    answered(terminal)
    terminal.say(b"/exit\n")
    terminal.end()


def interruptions(model):
    terminal = Terminal("rsr-run", model, "--chat", "-n", "100000", "-c", "100000")
    interrupted(terminal)
    interrupted(terminal)
    terminal.say(b"/exit\n")
    terminal.end()


def twice(model):
    terminal = Terminal("rsr-run", model, "--chat", "-n", "100000", "-c", "100000")
    interrupted(terminal)
    terminal.wait_for("> ", terminal.shown.index("; stop: "))
    terminal.interrupt()
    terminal.end()


def end_of_input(model):
    terminal = Terminal("rsr-run", model, "--chat")
    terminal.say(b"\x04")
    terminal.end()


def too_long(model):
    terminal = Terminal("rsr-run", model, "--chat", "-n", "4", "-c", "96")
    terminal.say(b"Hello\n")
    answered(terminal)
    terminal.say(b"and " * 100 + b"\n")
    terminal.wait_for("gives the conversation more room")
    terminal.say(b"Who art thou?\n")
    answered(terminal)
    terminal.say(b"/exit\n")
    terminal.end()


signal.alarm(300)
globals()[sys.argv[1]](sys.argv[2])
