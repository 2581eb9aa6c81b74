"use strict";
// A click, or Enter on a heading, sorts its table: first ascending, then descending. What was not measured stays last.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const heading = button.closest("th");
    const table = button.closest("table");
    const place = [...heading.parentNode.children].indexOf(heading);
    const up = heading.getAttribute("aria-sort") !== "ascending";
    const key = (row) => row.children[place].dataset.value;
    const rows = [...table.tBodies[0].rows];
    rows.sort((one, other) => {
      const a = key(one), b = key(other);
      if (a === "" || b === "") return (a === "") - (b === "");
      const apart = isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b;
      return up ? apart : -apart;
    });
    for (const other of heading.parentNode.children) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", up ? "ascending" : "descending");
    table.tBodies[0].append(...rows);
  });
}
