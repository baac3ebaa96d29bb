import { Link, useSearch } from '@tanstack/react-router';
import { PageHead } from '../../parts/states.tsx';
import { Buckets } from './buckets.tsx';
import { RangeForm } from './range-form.tsx';
import { useRange } from './range.ts';
import { Rejected } from './rejected.tsx';
import { Totals } from './totals.tsx';

/** What SIM cards and organizations used. */
export function Usage() {
  const tab = useSearch({ strict: false, select: (search) => search.tab });
  const range = useRange();
  return (
    <>
      <PageHead title="Usage" note="Data that SIM cards used, by whoever held them then." />
      <nav className="tabs" aria-label="Parts of usage">
        <Link
          to="/usage"
          search={(search) => ({ ...search, tab: undefined })}
          activeOptions={{ explicitUndefined: true }}
        >
          Used
        </Link>
        <Link
          to="/usage"
          search={(search) => ({ ...search, tab: 'rejected' })}
          activeOptions={{ explicitUndefined: true }}
        >
          Rejected records
        </Link>
      </nav>
      {tab === 'rejected' ? (
        <Rejected />
      ) : (
        <div className="stack">
          <RangeForm range={range} />
          {range.id === undefined ? (
            <Totals range={range} />
          ) : (
            <Buckets range={range} id={range.id} />
          )}
        </div>
      )}
    </>
  );
}
