"use strict";
(function () {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  // Charts follow the page's light or dark colours.
  function themed(layout) {
    const ink = colour("--ink"), line = colour("--line");
    const result = Object.assign({}, layout, {
      font: Object.assign({}, layout.font, { color: ink }),
      hoverlabel: { bgcolor: colour("--card"), bordercolor: line, font: { color: ink } },
    });
    for (const key of Object.keys(layout)) {
      if (/^[xy]axis\d*$/.test(key)) {
        result[key] = Object.assign({}, layout[key], { gridcolor: line, linecolor: line, zerolinecolor: line });
      } else if (/^ternary\d*$/.test(key)) {
        // Early iterations are dark: on a dark page the triangles stay light.
        const bgcolor = dark.matches ? "#cdd3d9" : "rgba(0,0,0,0)";
        result[key] = Object.assign({}, layout[key], { bgcolor });
        for (const axis of ["aaxis", "baxis", "caxis"]) {
          result[key][axis] = Object.assign({}, layout[key][axis], { linecolor: colour("--soft") });
        }
      }
    }
    return result;
  }

  function chart(element) {
    const spec = JSON.parse(element.querySelector("script").textContent);
    const target = element.querySelector(".plot");
    const options = { responsive: true, displaylogo: false, displayModeBar: "hover" };
    const draw = () => window.Plotly.react(target, spec.data, themed(spec.layout), options);
    draw();
    dark.addEventListener("change", draw);
  }

  function viewer(element) {
    const data = JSON.parse(element.querySelector("script").textContent);
    const slider = element.querySelector("input[type=range]");
    const place = element.querySelector("output");
    const figures = Array.from(element.querySelectorAll(".panels > figure"));
    const space = "http://www.w3.org/2000/svg";

    function outline(group, paths) {
      group.replaceChildren(...paths.map(([stroke, d]) => {
        const path = document.createElementNS(space, "path");
        path.setAttribute("d", d);
        path.setAttribute("stroke", stroke);
        return path;
      }));
    }

    function show() {
      const index = Number(slider.value);
      place.textContent = data.places[index];
      slider.setAttribute("aria-valuetext", data.places[index]);
      figures.forEach((figure, number) => {
        const panel = data.panels[number], picture = figure.querySelector("img");
        picture.src = panel.images[index];
        picture.alt = panel.title + ", " + data.places[index];
        for (const owner of Object.keys(panel.outlines)) {
          outline(figure.querySelector("g." + owner), panel.outlines[owner][index]);
        }
      });
    }

    element.querySelectorAll("input[type=checkbox]").forEach((box) => {
      box.addEventListener("change", () => {
        element.querySelectorAll("g." + box.value).forEach((group) => {
          group.style.display = box.checked ? "" : "none";
        });
      });
    });
    slider.addEventListener("input", show);
    // The wheel with the shift key over a picture turns the slices; without it the page scrolls.
    element.querySelectorAll(".picture").forEach((picture) => picture.addEventListener("wheel", (event) => {
      if (!event.shiftKey) return;
      event.preventDefault();
      slider.value = Number(slider.value) + Math.sign(event.deltaY || event.deltaX);
      show();
    }, { passive: false }));
    show();
  }

  document.querySelectorAll(".viewer").forEach(viewer);
  document.querySelectorAll(".chart").forEach(chart);
})();
