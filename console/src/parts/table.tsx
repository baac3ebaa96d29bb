import { useVirtualizer } from '@tanstack/react-virtual';
import { useEffect, useRef, type CSSProperties, type ReactNode } from 'react';
import type { Pages } from '../api/reads.ts';
import { Loading, Problem } from './states.tsx';

export interface Column<Row> {
  readonly title: string;
  readonly cell: (row: Row) => ReactNode;
  /** A track of CSS grid. Default: an equal part of the room. */
  readonly width?: string;
  readonly isNumber?: boolean;
}

const ROW_PX = 40;
const LEAST_COLUMN_PX = 120;
/** So many rows before the end, the next page is asked for. */
const AHEAD = 20;

export interface TableProps<Row> {
  readonly label: string;
  readonly columns: readonly Column<Row>[];
  readonly rows: readonly Row[];
  readonly keyOf: (row: Row) => string;
  /** Called when the reader comes near the end. */
  readonly onEnd?: () => void;
}

/** A table that puts only the rows in sight into the document, however many there are. */
export function Table<Row>({ label, columns, rows, keyOf, onEnd }: TableProps<Row>) {
  const scroller = useRef<HTMLDivElement>(null);
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW_PX,
    overscan: 12,
  });
  const visible = virtual.getVirtualItems();
  const isNearEnd = (visible.at(-1)?.index ?? 0) >= rows.length - AHEAD;
  useEffect(() => {
    if (isNearEnd) onEnd?.();
  }, [isNearEnd, onEnd, rows.length]);
  const style = {
    '--columns': columns.map(({ width }) => width ?? 'minmax(0, 1fr)').join(' '),
    '--least-width': `${columns.length * LEAST_COLUMN_PX}px`,
  } as CSSProperties;
  return (
    <div
      className="table"
      role="table"
      aria-label={label}
      aria-rowcount={rows.length + 1}
      ref={scroller}
      style={style}
      tabIndex={0}
    >
      <div role="rowgroup" className="head">
        <div role="row" aria-rowindex={1}>
          {columns.map(({ title, isNumber }) => (
            <div key={title} role="columnheader" className={isNumber ? 'number' : undefined}>
              {title}
            </div>
          ))}
        </div>
      </div>
      <div role="rowgroup" className="body" style={{ height: virtual.getTotalSize() }}>
        {visible.map(({ index, start }) => {
          const row = rows[index];
          if (row === undefined) return null;
          return (
            <div
              key={keyOf(row)}
              role="row"
              aria-rowindex={index + 2}
              style={{ transform: `translateY(${start}px)` }}
            >
              <Cells columns={columns} row={row} />
            </div>
          );
        })}
      </div>
    </div>
  );
}

function Cells<Row>({ columns, row }: { columns: readonly Column<Row>[]; row: Row }) {
  return columns.map(({ title, cell, isNumber }) => {
    const content = cell(row);
    const isText = typeof content === 'string' || typeof content === 'number';
    return (
      <div key={title} role="cell" className={isNumber ? 'number' : undefined}>
        {isText ? (
          <span className="cut" title={String(content)}>
            {content}
          </span>
        ) : (
          content
        )}
      </div>
    );
  });
}

interface PagedTableProps<Row> extends Omit<TableProps<Row>, 'rows' | 'onEnd'> {
  readonly pages: Pages<Row>;
  /** What is shown when there are no rows. */
  readonly empty: ReactNode;
}

/** A list of the service as a table: it loads on as the reader scrolls. */
export function PagedTable<Row>({ pages, empty, ...table }: PagedTableProps<Row>) {
  const { items, error, isLoading, hasMore, isLoadingMore, loadMore } = pages;
  if (isLoading) return error === null ? <Loading /> : <Problem error={error} />;
  return (
    <>
      {error !== null && <Problem error={error} />}
      {items.length === 0 && error === null ? (
        empty
      ) : (
        <Table {...table} rows={items} {...(hasMore && { onEnd: loadMore })} />
      )}
      <p className="small soft" role="status">
        {items.length > 0 && `${items.length} ${hasMore ? 'loaded so far' : 'in all'}`}
        {isLoadingMore && ', loading more…'}
        {hasMore && !isLoadingMore && (
          <button type="button" className="button small quiet" onClick={loadMore}>
            Load more
          </button>
        )}
      </p>
    </>
  );
}
