// SPDX-License-Identifier: Apache-2.0
/** How complete the picture is: what agents lost, which are missing, how much traffic has no name. */
import React from 'react';
import { Badge } from '@grafana/ui';
import type { Coverage } from '../frames/read';
import { rateText, shareText } from '../graph/text';

export interface CoverageText {
  colour: 'green' | 'orange' | 'red' | 'blue';
  text: string;
  tooltip: string;
}

const NAMED = 8;
const MANY_UNRESOLVED = 0.1;

export function coverageText(coverage: Coverage, unresolved: number | null): CoverageText | null {
  const told: string[] = [];
  const problems: string[] = [];
  const { agentsUp, agentsMissing, lost, nodesExpected } = coverage;
  const without = nodesExpected === null || agentsUp === null ? 0 : Math.max(0, nodesExpected - agentsUp);
  const missing = Math.max(agentsMissing.length, without);
  if (agentsUp !== null) {
    told.push(`${agentsUp} agents answer.`);
  }
  if (missing > 0) {
    problems.push(`${missing} agent${missing === 1 ? '' : 's'} missing`);
    const names = agentsMissing.slice(0, NAMED).join(', ');
    told.push(
      `${missing} missing${names ? `: ${names}${agentsMissing.length > NAMED ? ', …' : ''}` : ''}; edges of their nodes are seen from the other end only.`
    );
  }
  if (lost !== null && lost > 0) {
    problems.push(`loses ${rateText(lost)}`);
    told.push(`Agents lose ${rateText(lost)}, so counts are too low: see the dashboard Agent health.`);
  }
  if (unresolved !== null) {
    told.push(`${shareText(unresolved)} of all requests have an end without a name.`);
    if (unresolved >= 0.001) {
      problems.push(`${shareText(unresolved)} unresolved`);
    }
  }
  if (told.length === 0) {
    return null;
  }
  const severe = missing > 0 || (lost ?? 0) > 0;
  const nothingAsked = agentsUp === null && lost === null;
  const colour = severe ? 'red' : (unresolved ?? 0) >= MANY_UNRESOLVED ? 'orange' : nothingAsked ? 'blue' : 'green';
  return { colour, text: problems.join(', ') || 'complete', tooltip: told.join(' ') };
}

export const CoverageBadge: React.FC<{ coverage: Coverage; unresolved: number | null }> = ({
  coverage,
  unresolved,
}) => {
  const told = coverageText(coverage, unresolved);
  return told ? (
    <span data-testid="topology-coverage">
      <Badge
        color={told.colour}
        icon={told.colour === 'green' || told.colour === 'blue' ? 'check' : 'exclamation-triangle'}
        text={told.text}
        tooltip={told.tooltip}
      />
    </span>
  ) : null;
};
