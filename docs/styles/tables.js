// Wide tables scroll in a box of Material's making: where one does, the keyboard has to reach it.
function reachTables() {
  for (const box of document.querySelectorAll(".md-typeset__scrollwrap")) {
    if (box.scrollWidth > box.clientWidth) {
      box.tabIndex = 0;
    } else {
      box.removeAttribute("tabindex");
    }
  }
}
addEventListener("load", reachTables);
addEventListener("resize", reachTables);
