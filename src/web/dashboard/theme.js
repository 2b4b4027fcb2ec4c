// Runs before the first paint, so that a page that is dark is not white for a moment.
{
	let theme = "auto";
	try {
		theme = localStorage.getItem("ballast-theme") ?? theme;
	} catch {
		// Storage is forbidden: the setting of the system holds.
	}
	const dark = theme === "dark" || (theme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
	Object.assign(document.documentElement.dataset, { chosen: theme, theme: dark ? "dark" : "light" });
}
