"""The table of all groups and choices in `conf/`, for README; imports no torch."""

from terrablate.config.choices import choices, default_choices, groups


def choices_table() -> str:
    """Markdown, a row a choice with its card; the default of each group stands first and in bold."""
    lines = ["| group | choice | what it is |", "|---|---|---|"]
    defaults = default_choices()
    for group in groups():
        found = choices(group)
        first = [choice for choice in found if choice.name == defaults.get(group)]
        for choice in [*first, *(choice for choice in found if choice not in first)]:
            name = f"**`{choice.name}`**" if choice in first else f"`{choice.name}`"
            lines.append(f"| `{group}` | {name} | {choice.card.replace('|', '/')} |")
    return "\n".join(lines)
