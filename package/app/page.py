"""The page: its parts, and what each of them calls."""

from collections.abc import Callable
from importlib.resources import files
from typing import Any

import gradio as gr
from gradio_client.utils import is_http_url_like

from anatomy_vlm.app.handlers import CALLED, Contents, Handlers
from anatomy_vlm.processing.mask_pictures import spoken_name


TITLE = "Anatomy-VLM: 29 regions of a chest radiograph"
_NOTICE = "<strong>Research software, not a medical device.</strong> Do not use it for diagnosis or treatment."
_FILES = {"reading": "Reading (JSON)", "overlay": "Overlay (PNG)", "evidence": "Evidence card (HTML)"}


def film_file(label: str, **options: Any) -> gr.File:
    """A place to drop a film. Gradio would fetch an address that is given in place of a file; this one refuses."""
    component = gr.File(label=label, **options)
    move = component.async_move_resource_to_block_cache

    async def move_file(url_or_file_path: Any) -> str | None:
        if url_or_file_path is not None and is_http_url_like(str(url_or_file_path)):
            raise gr.Error("Choose a file; addresses are not fetched.", print_exception=False)
        return await move(url_or_file_path)

    def path_of(payload: Any) -> str | None:
        # Gradio's own leaves an empty temporary file with every upload.
        return None if payload is None else str(payload.path)

    # Of the instance: a class of ours would be a component that has a frontend of its own.
    component.async_move_resource_to_block_cache = move_file  # type: ignore[method-assign]
    component.preprocess = path_of  # type: ignore[method-assign]
    return component


def build_page(handlers: Handlers, *, max_megabytes: int, place: str) -> gr.Blocks:
    """The page of an app.

    Args:
        handlers: what it calls.
        max_megabytes: what is said about the size of files.
        place: where films are read, in words.
    """
    service = handlers.service
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(60, 600)) as page:
        gr.HTML(
            f"<h1>Anatomy-VLM</h1><p>The boxes of 29 named regions of a chest radiograph, and what a model makes of "
            f"each.</p><p class='av-notice'>{_NOTICE} {place}</p>",
            elem_classes="av-head",
        )
        with gr.Row():
            upload = film_file(f"Film: PNG, JPEG, TIFF, BMP or DICOM, up to {max_megabytes} MB", height=168, scale=2)
            with gr.Column(scale=3, visible=handlers.gallery is not None):
                gr.HTML("<h2 class='av-faint'>Or a synthetic example, drawn when the app started</h2>")
                gallery = gr.HTML([], **_script("gallery.js"), elem_classes="av-gallery")
        status = gr.HTML({}, **_script("status.js"), elem_id="status")
        with gr.Column(visible=False, elem_id="workspace") as workspace:
            view = gr.HTML(None, **_script("film_view.js"), elem_classes="av-film", elem_id="film")
            with gr.Row(elem_id="downloads"):
                buttons = {what: gr.Button(label, size="sm") for what, label in _FILES.items()}
                buttons["comparison"] = gr.Button("Comparison (HTML)", size="sm", visible=service.can_compare)
            with gr.Tabs():
                with gr.Tab("Your texts"):
                    prompts = gr.Textbox(
                        label="Texts to score in the film and in each region, one in a line",
                        placeholder="fluid at the left lung base\nno fluid at the left lung base",
                        lines=3,
                        elem_id="prompts",
                    )
                    force = gr.Checkbox(label="State findings even of a film whose findings are withheld")
                    score = gr.Button("Score these texts", variant="primary")
                with gr.Tab("Evidence"):
                    finding = gr.Dropdown([CALLED, *service.findings], value=CALLED, label="Evidence for")
                    gather = gr.Button("Gather the evidence", variant="primary")
                    evidence = gr.HTML(None, **_script("page_view.js"), elem_id="evidence")
                with gr.Tab("Prior study", visible=service.can_compare):
                    prior = film_file("An earlier film of the same patient", height=140)
                    comparison = gr.HTML(None, **_script("page_view.js"), elem_id="comparison")
                with gr.Tab("Masks", visible=bool(service.structures)):
                    spoken = [spoken_name(name) for name in service.structures]
                    # A writer may know one structure of two sources: "left lung" and "lung_left".
                    names = [
                        (said if spoken.count(said) == 1 else name, name)
                        for said, name in zip(spoken, service.structures)
                    ]
                    structures = gr.Dropdown(names, multiselect=True, label="Structures", elem_id="structures")
                    draw = gr.Button("Draw the masks", variant="primary")
        download = gr.HTML(None, **_script("download.js"))

        parts = {"status": status, "view": view, "evidence": evidence, "comparison": comparison, "download": download}
        outputs = [*parts.values(), workspace]

        def shown(contents: Contents) -> list[Any]:
            news = [gr.update(value=contents[name]) if name in contents else gr.skip() for name in parts]
            return [*news, gr.update(visible=True) if "view" in contents else gr.skip()]

        def fresh(contents: Contents) -> list[Any]:
            """The place for the file is free again, and what was typed for another film is gone."""
            if "view" not in contents:
                return [None, gr.skip(), gr.skip(), gr.skip()]
            return [None, "", False, []]

        # One at a time for all pages: the model reads one film at a time anyway, and waiting is shown in order.
        queue: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "model", "api_visibility": "private"}

        def opened(file: str | None, request: gr.Request) -> list[Any]:
            contents = {} if file is None else handlers.open_upload(_key(request), file)
            return [*shown(contents), *fresh(contents)]

        def chosen(event: gr.EventData, request: gr.Request) -> list[Any]:
            contents = handlers.open_example(_key(request), getattr(event, "index", -1))
            return [*shown(contents), *fresh(contents)]

        def compared(file: str | None, request: gr.Request) -> list[Any]:
            return [*shown({} if file is None else handlers.compare_upload(_key(request), file)), None]

        def scored(text: str, forced: bool, request: gr.Request) -> list[Any]:
            return shown(handlers.score_prompts(_key(request), text, forced))

        def gathered(name: str, request: gr.Request) -> list[Any]:
            return shown(handlers.gather_evidence(_key(request), name))

        def drawn(chosen_names: list[str], request: gr.Request) -> list[Any]:
            return shown(handlers.draw_masks(_key(request), chosen_names))

        def saved(what: str) -> Callable[[gr.Request], list[Any]]:
            def save(request: gr.Request) -> list[Any]:
                return shown(handlers.download(_key(request), what))

            return save

        def left(request: gr.Request) -> None:
            handlers.leave(_key(request))
            # Gradio would keep what the page showed for as long as the server runs.
            holder = getattr(page, "state_holder", None)
            if holder is not None:
                holder.session_data.pop(request.session_hash, None)

        new_film = [*outputs, upload, prompts, force, structures]
        upload.upload(opened, upload, new_film, **queue)
        gallery.choose(chosen, None, new_film, **queue)
        prior.upload(compared, prior, [*outputs, prior], **queue)
        score.click(scored, [prompts, force], outputs, **queue)
        force.input(scored, [prompts, force], outputs, **queue)
        gather.click(gathered, finding, outputs, **queue)
        draw.click(drawn, structures, outputs, **queue)
        for what, button in buttons.items():
            button.click(saved(what), None, outputs, **queue)
        if handlers.gallery is not None:
            page.load(handlers.examples, None, gallery, show_progress="minimal", api_visibility="private")
        page.unload(left)
    page.queue(max_size=32)
    return page


def _script(name: str) -> dict[str, Any]:
    """What makes an HTML component of ours: nothing in it but what its script builds."""
    script = files("anatomy_vlm.app").joinpath(name).read_text(encoding="utf-8")
    return {"html_template": "", "js_on_load": script, "apply_default_css": False}


def _key(request: gr.Request) -> str:
    """Of an open page; drawn anew by every page that is loaded."""
    return str(request.session_hash)


__all__ = ["build_page", "film_file"]
