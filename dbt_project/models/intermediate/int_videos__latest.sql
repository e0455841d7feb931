{{ newest_observation(ref('stg_tiktok__videos'), ['study', 'video_id']) }}
