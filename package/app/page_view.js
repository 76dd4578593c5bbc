// A page of the package (evidence, comparison) within this one. It has no scripts, and none are allowed in it.
function render() {
  element.replaceChildren();
  const page = props.value;
  if (!page || !page.html) return;
  const frame = document.createElement("iframe");
  frame.setAttribute("sandbox", "allow-same-origin");
  frame.title = page.title;
  frame.className = "av-page";
  const fit = () => {
    const body = frame.contentDocument?.body;
    if (body) frame.style.height = `${body.scrollHeight + 2}px`;
  };
  frame.addEventListener("load", () => {
    fit();
    new ResizeObserver(fit).observe(frame.contentDocument.body);
  });
  frame.srcdoc = page.html;
  element.append(frame);
}
render();
watch("value", render);
