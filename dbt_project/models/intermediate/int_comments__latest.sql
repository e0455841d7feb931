{{ newest_observation(ref('stg_tiktok__comments'), ['study', 'comment_id']) }}
