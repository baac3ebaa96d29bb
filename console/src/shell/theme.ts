export type Theme = 'auto' | 'light' | 'dark';

const STORED_AS = 'fleetledger.theme';

/** `auto` is what the system says. */
export function currentTheme(): Theme {
  const stored = localStorage.getItem(STORED_AS);
  return stored === 'light' || stored === 'dark' ? stored : 'auto';
}

export function applyTheme(theme = currentTheme()): void {
  localStorage.setItem(STORED_AS, theme);
  if (theme === 'auto') delete document.documentElement.dataset['theme'];
  else document.documentElement.dataset['theme'] = theme;
}
