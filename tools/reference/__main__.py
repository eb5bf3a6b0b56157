"""``python -m tools.reference``: writes every page again."""

from __future__ import annotations

from tools.reference.pages import FOLDER, pages


def main() -> None:
    """Writes the pages, and prints the names of those that changed."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    made = pages()
    for name, text in made.items():
        page = FOLDER / name
        if not page.is_file() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")
            print(page.relative_to(FOLDER.parents[1]))
    for page in FOLDER.glob("*.md"):
        if page.name not in made:
            page.unlink()
            print(f"{page.relative_to(FOLDER.parents[1])} removed")


if __name__ == "__main__":
    main()
