// One line on what happened. The two places stay in the page, so that screen readers announce what is put into them.
const status = document.createElement("p");
status.setAttribute("role", "status");
status.className = "av-status";
const alert = document.createElement("p");
alert.setAttribute("role", "alert");
alert.className = "av-error";
element.append(status, alert);
function render() {
  const { kind = "status", text = "" } = props.value ?? {};
  status.textContent = kind === "error" ? "" : text;
  alert.textContent = kind === "error" ? text : "";
}
render();
watch("value", render);
