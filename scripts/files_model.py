"""Files as they should be: a small tree in memory, changed at random together with the lines of a shell that do the same."""

import io
import shlex
import tarfile

NAMES = ("a", "b", "c", "d", "e")
MODES = (0o700, 0o755, 0o750, 0o711)


class Tree:
    """Directories, files and symbolic links by their paths. A file may have several names."""

    def __init__(self):
        # A directory is ("dir", mode), a link ("link", target), a file ("file", number).
        self.nodes, self.files, self.made = {}, {}, 0

    def copy(self):
        other = Tree()
        other.nodes, other.files, other.made = dict(self.nodes), dict(self.files), self.made
        return other

    def shown(self):
        """All there is, as `read_tar` gives it."""
        show = lambda node: ("file", *self.files[node[1]]) if node[0] == "file" else node
        return {path: show(node) for path, node in self.nodes.items()}

    def paths(self, *kinds):
        return [path for path, node in self.nodes.items() if node[0] in kinds]

    def single_files(self):
        """Files with one name: if one that an overlay has below has several, writing to it parts them."""
        numbers = [node[1] for node in self.nodes.values() if node[0] == "file"]
        return [path for path in self.paths("file") if numbers.count(self.nodes[path][1]) == 1]

    def below(self, path):
        return [other for other in self.nodes if other.startswith(f"{path}/")]

    def new_path(self, dice):
        parent = dice.choice(["", *self.paths("dir")])
        return f"{parent}/{dice.choice(NAMES)}".lstrip("/")

    def write(self, path, text):
        """What a program does that opens a file and writes."""
        if path in self.nodes:
            number = self.nodes[path][1]
            self.files[number] = (self.files[number][0], text)
        else:
            self.made += 1
            self.files[self.made] = (0o644, text)
            self.nodes[path] = ("file", self.made)

    def remove(self, path):
        for gone in [path, *self.below(path)]:
            del self.nodes[gone]

    def rename(self, old, new):
        self.nodes.pop(new, None)
        for path in [old, *self.below(old)]:
            self.nodes[new + path[len(old):]] = self.nodes.pop(path)

    def may_rename(self, old, new):
        if new == old or new.startswith(f"{old}/"):
            return False
        if new not in self.nodes:
            return True
        one, other = self.nodes[old], self.nodes[new]
        if one[0] == other[0] == "dir":
            return not self.below(new)
        return one[0] == other[0] == "file" and one[1] != other[1]

    def change(self, dice, text):
        """Changes something; gives the line that does the same, if there was anything to change."""
        new, text = self.new_path(dice), text + "x" * dice.randrange(20)
        free = new not in self.nodes
        print_to = lambda path, how=">": f"printf %s {shlex.quote(text)} {how} {path}"
        match dice.randrange(10):
            case 0 | 1 if free:
                self.nodes[new] = ("dir", 0o755)
                return f"mkdir {new}"
            case 2 | 3 if free:
                self.write(new, text)
                return print_to(new)
            case 4 if self.single_files():
                path = dice.choice(self.single_files())
                more = dice.random() < 0.5
                self.write(path, (self.files[self.nodes[path][1]][1] if more else "") + text)
                return print_to(path, ">>" if more else ">")
            case 5 | 6 if self.nodes:
                old = dice.choice(list(self.nodes))
                if self.may_rename(old, new):
                    self.rename(old, new)
                    return f"mv -T {old} {new}"
            case 7 if self.nodes:
                path = dice.choice(list(self.nodes))
                was = self.nodes[path][0]
                self.remove(path)
                # A directory becomes a file, and the other way round.
                if dice.random() < 0.3:
                    if was == "dir":
                        self.write(path, text)
                        return f"rm -rf {path} && {print_to(path)}"
                    self.nodes[path] = ("dir", 0o755)
                    return f"rm -rf {path} && mkdir {path}"
                return f"rm -rf {path}"
            case 8:
                among = [*self.single_files(), *self.paths("dir")]
                if among:
                    path, mode = dice.choice(among), dice.choice(MODES)
                    kind, held = self.nodes[path]
                    if kind == "dir":
                        self.nodes[path] = ("dir", mode)
                    else:
                        self.files[held] = (mode, self.files[held][1])
                    return f"chmod {mode:o} {path}"
            case 9 if free:
                if self.paths("file") and dice.random() < 0.5:
                    path = dice.choice(self.paths("file"))
                    self.nodes[new] = self.nodes[path]
                    return f"ln {path} {new}"
                self.nodes[new] = ("link", text)
                return f"ln -s {shlex.quote(text)} {new}"
        return None


def read_tar(packed):
    """What is in an archive of a directory, by path."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for entry in archive:
            name = entry.name.removeprefix("./").strip("/")
            if name in ("", "."):
                continue
            if entry.isdir():
                found[name] = ("dir", entry.mode)
            elif entry.issym():
                found[name] = ("link", entry.linkname)
            else:
                found[name] = ("file", entry.mode, archive.extractfile(entry).read().decode())
    return found
