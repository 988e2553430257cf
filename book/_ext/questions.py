"""Turn a cell tagged `questions` and the answers in the cell after it into choices to click on.

Both cells hold an ordered list; each item ends with a list of options, and of what is to be said
about each. An explanation shows once its option is chosen, by style alone: no script is needed.
"""

from docutils import nodes
from sphinx.locale import _
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

from .cells import cells

logger = logging.getLogger(__name__)
RIGHT = {"Right.", "正确"}  # the bold word with which the explanation of the right option begins


class choice(nodes.General, nodes.Element):  # noqa: N801, as docutils names its nodes
    """A question with its options: <fieldset>."""


class asked(nodes.General, nodes.TextElement):  # noqa: N801
    """What is asked: <legend>."""


class radio(nodes.General, nodes.TextElement):  # noqa: N801
    """An option: a radio button with its <label>."""


class why(nodes.General, nodes.Element):  # noqa: N801
    """What is to be said about an option, once it is chosen."""


def visit_choice(self, node):
    self.body.append(self.starttag(node, "fieldset"))


def visit_radio(self, node):
    attributes = {"type": "radio", "name": node["name"]}
    if node.next_node(nodes.math):  # a formula alone would be no name to a screen reader
        attributes["aria-label"] = node.astext()
    button = self.emptytag(node, "input", **attributes)
    self.body.append(f'<div class="option">{button}<label for="{node["ids"][0]}">')


def visit_why(self, node):
    self.body.append(self.starttag(node, "div", **{"aria-live": "polite"}))


def end(text):
    return lambda self, node: self.body.append(text)


def is_nested(element):
    """Whether this is an ordered list whose items are each a paragraph and a list of paragraphs."""
    return isinstance(element, nodes.enumerated_list) and all(
        [type(part) for part in item] == [nodes.paragraph, nodes.bullet_list]
        and all([type(part) for part in inner] == [nodes.paragraph] for inner in item[1])
        for item in element
    )


def is_right(paragraph):
    strong = next(iter(paragraph.findall(nodes.strong)), None)
    first = strong.astext() if strong is not None else None
    return first in RIGHT and paragraph.astext().startswith(first)


class AskQuestions(SphinxTransform):
    default_priority = 390  # before the answers are folded as a solution is (400)

    def apply(self):
        after = None
        for cell in reversed(cells(self.document)):
            if "questions" in cell["cell"].get("tags", []):
                questions = next(iter(cell.findall(nodes.enumerated_list)), None)
                if problem := self.problem(questions, after):
                    logger.warning("questions: %s", problem, location=cell)
                else:
                    self.join(questions, after, cell["cell"]["id"])
            after = cell

    def problem(self, questions, answers):
        """Say what is wrong with the two lists, if anything is."""
        if not is_nested(questions):
            return "not an ordered list in which every item is a question and a list of options"
        if not is_nested(answers):
            return "no such list of answers in the next cell"
        counts = [[len(item[1]) for item in element] for element in (questions, answers)]
        if counts[0] != counts[1]:
            return f"{counts[0]} options have {counts[1]} explanations"
        if any(sum(is_right(said[0]) for said in item[1]) != 1 for item in answers):
            return "each question has one right answer, which begins with **Right.**"
        return None

    def join(self, questions, answers, name):
        for number, (question, answer) in enumerate(zip(questions, answers, strict=True), 1):
            text, options = question
            fieldset = choice("", asked("", "", *text.children), classes=["question"])
            for place, (option, said) in enumerate(zip(options, answer[1], strict=True), 1):
                group = f"{name}-{number}"
                fieldset += radio("", "", *option[0].children, name=group, ids=[f"{group}-{place}"])
                words = said[0]
                right = is_right(words)
                if not right:
                    words.insert(0, nodes.strong("", _("Not this one. ")))
                fieldset += why("", words, classes=["why", "right" if right else "wrong"])
            question.children = []
            question += fieldset
        questions["classes"].append("questions")
        questions["ids"] = answers["ids"]  # the anchor of the cell with the answers
        answers.parent.remove(answers)


def setup(app):
    app.add_node(choice, html=(visit_choice, end("</fieldset>\n")))
    app.add_node(asked, html=(end("<legend>"), end("</legend>\n")))
    app.add_node(radio, html=(visit_radio, end("</label>\n")))
    app.add_node(why, html=(visit_why, end("</div></div>\n")))
    app.add_transform(AskQuestions)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
