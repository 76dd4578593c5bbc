// Examples as buttons; a click says which.
function render() {
  const examples = props.value ?? [];
  element.replaceChildren();
  for (const [index, example] of examples.entries()) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "av-example";
    const picture = document.createElement("img");
    picture.src = example.image;
    picture.alt = "";
    const title = document.createElement("span");
    title.textContent = example.title;
    button.setAttribute("aria-label", example.alt);
    button.append(picture, title);
    button.addEventListener("click", () => trigger("choose", { index }));
    element.append(button);
  }
}
render();
watch("value", render);
