"""A notebook open in JupyterLab, and its controls moved as a reader without a mouse would."""

from sliders import carries

# Counts the messages from controls that the kernel has dealt with, and says what a picture shows:
# its address changes even where its bytes do not.
_RUN_ALL = """async () => {
    const app = window.jupyterapp, panel = app.shell.currentWidget;
    await app.restored; await panel.context.ready; await panel.context.sessionContext.ready;
    window.answered = 0;
    panel.context.sessionContext.session.kernel.iopubMessage.connect((_, message) => {
        if (message.header.msg_type === 'status' && message.content.execution_state === 'idle'
            && message.parent_header.msg_type === 'comm_msg') window.answered += 1;
    });
    return await app.commands.execute('notebook:run-all-cells');
}"""
_BYTES = (
    "async image => Array.from(new Uint8Array(await (await fetch(image.src)).arrayBuffer())).join()"
)
# JupyterLab keeps the arrows and letters that a list would take for itself.
KEYS = {"slider": ("ArrowRight", "ArrowLeft"), "dropdown": ("End", "Home"), "checkbox": ("Space",)}


class Control:
    """One control of a panel: ``value`` is what it shows."""

    def __init__(self, panel, element):
        self.panel, self.page, self.element = panel, panel.page, element
        classes = element.get_attribute("class")
        self.kind = next((kind for kind in KEYS if f"widget-{kind}" in classes), None)
        assert self.kind, f"no way to move this control is known here: {classes}"
        self.name = element.locator("label").first.inner_text() or element.inner_text()
        self.handle = element.locator(
            {"slider": ".noUi-handle", "dropdown": "select", "checkbox": "input"}[self.kind]
        )

    @property
    def value(self):
        if self.kind == "slider":
            return self.element.locator(".widget-readout").inner_text()
        script = (
            "list => list.selectedOptions[0].text"
            if self.kind == "dropdown"
            else "box => String(box.checked)"
        )
        return self.handle.evaluate(script).replace("\xa0", " ")

    def change(self, act):
        """Do something to it and wait until the kernel has answered; whether that changed the
        value."""
        before, answered = self.value, self.page.evaluate("window.answered")
        act()
        if self.value == before:
            return False
        self.page.wait_for_function(
            "before => window.answered > before", arg=answered, timeout=600_000
        )
        return True

    def press(self, key):
        self.handle.focus()
        return self.change(lambda: self.page.keyboard.press(key))

    def step(self):
        """Move it with the keyboard, on or back."""
        assert any(map(self.press, KEYS[self.kind])), f"{self.name}: the keyboard does not move it"

    def options(self):
        """Set a list to each of its options in turn."""
        for index in range(self.handle.locator("option").count()):
            self.change(lambda index=index: self.handle.select_option(index=index))
            yield index


class PanelOnPage:
    """A panel in an output: controls, picture, line of status."""

    def __init__(self, page, element):
        self.page, self.element = page, element
        self.image = element.locator("> .widget-image")
        self.computing = element.locator(".computing")
        self.controls = [
            Control(self, child)
            for child in element.locator("> .widget-box > .jupyter-widgets").all()
        ]

    @property
    def status(self):
        return self.element.locator("> .widget-html .widget-html-content").inner_text()

    def drawn(self):
        return self.image.evaluate(_BYTES)

    def changes(self, control):
        """Move a control by one; whether the picture changed, in which case the status must carry
        the value."""
        before, said = self.drawn(), self.status
        control.step()
        self.computing.wait_for(state="detached")
        for _ in range(10):  # the answer is there, but the page may not have shown it yet
            if self.drawn() != before and self.status != said:
                break
            self.page.wait_for_timeout(50)
        if self.drawn() == before:
            return False
        assert control.kind == "checkbox" or carries(self.status, control.value), (
            control.name,
            control.value,
            self.status,
        )
        assert self.status != said, (control.name, said)
        return True

    def without_effect(self):
        """The names of the controls that changed nothing, in any of the states that the lists
        offer. A list of a single entry has nothing to change."""
        idle = [
            control
            for control in self.controls
            if (control.kind != "dropdown" or control.handle.locator("option").count() > 1)
            and not self.changes(control)
        ]
        for choice in (control for control in self.controls if control.kind == "dropdown"):
            for _ in choice.options() if idle else ():
                idle = [
                    control for control in idle if control is choice or not self.changes(control)
                ]
                if not idle:
                    break
        return [control.name for control in idle]


def open_and_run(page, address, name):
    """Open a notebook, run all its cells and return its panels."""
    page.goto(f"{address}/lab/tree/{name}?reset")
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=600_000)
    page.wait_for_function(
        "window.jupyterapp && window.jupyterapp.shell.currentWidget?.context", timeout=600_000
    )
    assert page.evaluate(_RUN_ALL), "a cell failed"
    panels = page.locator(".jp-OutputArea-output .widget-vbox:has(> .widget-image)")
    panels.first.wait_for(timeout=600_000)
    return [PanelOnPage(page, panel) for panel in panels.all()]
