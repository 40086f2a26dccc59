// Sorts a table by the column whose title is clicked; without the script it keeps the order of the study.
for (const table of document.querySelectorAll("table.results")) {
  const body = table.tBodies[0];
  const titles = [...table.tHead.rows[0].cells];
  titles.forEach((title, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = title.textContent;
    title.replaceChildren(button);
    const key = (row) => row.cells[place].dataset.sort ?? row.cells[place].textContent.trim();
    const empty = (row) => row.cells[place].classList.contains("empty");
    button.addEventListener("click", () => {
      const down = title.getAttribute("aria-sort") === "ascending";
      titles.forEach((other) => other.removeAttribute("aria-sort"));
      title.setAttribute("aria-sort", down ? "descending" : "ascending");
      const order = (a, b) => {
        if (empty(a) !== empty(b)) return empty(a) ? 1 : -1;
        const [x, y] = [key(a), key(b)];
        const numbers = x !== "" && y !== "" && !isNaN(x) && !isNaN(y);
        return (numbers ? x - y : x.localeCompare(y)) * (down ? -1 : 1);
      };
      body.append(...[...body.rows].sort(order));
    });
  });
}
