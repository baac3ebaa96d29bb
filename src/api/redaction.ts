/** An API key, each character as itself or percent-encoded, once or several times. */
const KINDS = ['adm', 'mem', 'dev'];
const KEY = new RegExp(
  `${encodable('fl_')}(?:${KINDS.map(encodable).join('|')})${encodable('_')}[\\w%]*`,
  'gi',
);

function encodable(text: string): string {
  return Array.from(text, (character) => {
    const hex = character.charCodeAt(0).toString(16);
    return `(?:${character}|%(?:25)*${hex})`;
  }).join('');
}

/** Text for the log, without the API keys that somebody pasted into it. */
export function withoutKeys(text: string): string {
  return text.replace(KEY, 'fl_…');
}
