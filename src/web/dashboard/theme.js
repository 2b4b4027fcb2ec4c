// Runs before the first paint, so that a page that was switched to dark is not white for a moment.
(() => {
  let theme = null;
  try {
    theme = localStorage.getItem("ballast-theme");
  } catch {
    // Storage is forbidden: the setting of the system holds.
  }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
})();
