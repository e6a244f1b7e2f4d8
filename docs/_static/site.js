// A table that is wider than the page can be scrolled by the keyboard.
addEventListener("load", () => {
  for (const box of document.querySelectorAll(".table-wrapper, pre, .cell_output .output"))
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
});
