import { Popover } from 'radix-ui';
import { useState } from 'react';
import { letGo, useKeys, type HeldKey, type Scope } from '../api/keys.ts';
import { ownTimeZone } from '../time/moment.ts';
import { KeyForm } from './sign-in.tsx';
import { applyTheme, currentTheme, type Theme } from './theme.ts';

/** Whose keys this tab holds, and how it looks. */
export function KeyMenu() {
  const { project, admin } = useKeys();
  const [isOpen, setOpen] = useState(false);
  const who = project?.holder ?? (admin === undefined ? 'No key' : 'Admin');
  return (
    <Popover.Root open={isOpen} onOpenChange={setOpen}>
      <Popover.Trigger className="button">
        <bdi>{who}</bdi>
        {project !== undefined && project.role !== project.holder && (
          <span className="tag">{project.role}</span>
        )}
      </Popover.Trigger>
      <Popover.Portal>
        <Popover.Content
          className="popover"
          align="end"
          sideOffset={6}
          aria-label="Keys and appearance"
        >
          {project !== undefined && <Held scope="project" name="Project key" held={project} />}
          {admin !== undefined && <Held scope="admin" name="Admin key" held={admin} />}
          {(project === undefined || admin === undefined) && (
            <details>
              <summary>
                Add {project === undefined ? 'the key of a member' : 'an admin key'}
              </summary>
              <KeyForm onHeld={() => setOpen(false)} />
            </details>
          )}
          <Appearance />
          <p className="small soft">Times are in {ownTimeZone()}.</p>
        </Popover.Content>
      </Popover.Portal>
    </Popover.Root>
  );
}

function Held({ scope, name, held }: { scope: Scope; name: string; held: HeldKey }) {
  return (
    <div className="row">
      <div className="grow">
        <strong>{name}</strong>
        <div className="small soft">
          {held.projectId !== null && `${held.projectId} · ${held.holder} · `}
          <code>{held.id}</code>
        </div>
      </div>
      <button type="button" className="button small" onClick={() => letGo(scope)}>
        Forget
      </button>
    </div>
  );
}

function Appearance() {
  const [theme, setTheme] = useState(currentTheme());
  return (
    <label>
      Appearance
      <select
        value={theme}
        onChange={(event) => {
          const chosen = event.target.value as Theme;
          setTheme(chosen);
          applyTheme(chosen);
        }}
      >
        <option value="auto">As the system</option>
        <option value="light">Light</option>
        <option value="dark">Dark</option>
      </select>
    </label>
  );
}
