type Change = 'added' | 'changed' | 'removed' | undefined;

interface TreeProps {
  readonly value: Readonly<Record<string, unknown>>;
  /** What it is compared with; what differs is marked. */
  readonly before?: Readonly<Record<string, unknown>>;
  /** Said beside a member, for example who set it. */
  readonly note?: (path: string) => string | undefined;
  readonly path?: string;
}

/** A state, member by member. */
export function Tree({ value, before, note, path = '' }: TreeProps) {
  const names = [...new Set([...Object.keys(before ?? {}), ...Object.keys(value)])].toSorted();
  if (names.length === 0) return <p className="soft">Empty.</p>;
  return (
    <ul className="tree">
      {names.map((name) => (
        <Member key={name} name={name} value={value} before={before} note={note} path={path} />
      ))}
    </ul>
  );
}

function Member({ name, value, before, note, path = '' }: TreeProps & { name: string }) {
  const ownPath = path === '' ? name : `${path}.${name}`;
  const now = value[name];
  const then = before?.[name];
  const change = before === undefined ? undefined : changeOf(then, now);
  const shown = change === 'removed' ? then : now;
  if (isObject(shown) && Object.keys(shown).length > 0) {
    const compared = before !== undefined && isObject(then) ? then : before && {};
    return (
      <li>
        <span className={`key ${change === 'removed' ? 'removed' : ''}`}>{name}</span>
        <Tree
          value={change === 'removed' ? {} : shown}
          {...(compared !== undefined && { before: compared })}
          {...(note !== undefined && { note })}
          path={ownPath}
        />
      </li>
    );
  }
  return (
    <li>
      <span className={change ?? ''}>
        <span className="key">{name}: </span>
        {change === 'changed' && <s>{text(then)}</s>} {text(shown)}
        {change !== undefined && <span className="hidden-but-read"> ({change})</span>}
      </span>
      {note?.(ownPath) !== undefined && <span className="small soft"> {note(ownPath)}</span>}
    </li>
  );
}

function changeOf(before: unknown, now: unknown): Change {
  if (before === undefined) return now === undefined ? undefined : 'added';
  if (now === undefined) return 'removed';
  return JSON.stringify(before) === JSON.stringify(now) ? undefined : 'changed';
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function text(value: unknown): string {
  return JSON.stringify(value);
}
